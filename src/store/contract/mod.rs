//! What every engine of history must do, as one suite of tests.
//!
//! An engine implements [`Engine`] in its tests and calls [`contract!`]: each law
//! becomes a test of that engine.

mod laws; //  the laws, one function each
mod rig; //   an engine under test, the sink that listens, runs to append

pub(crate) use laws::*;
pub(crate) use rig::{Engine, Recorder, Rig, Told, run_of, text_event};

/// Makes a test of each law, for the engine that `$new` makes afresh.
macro_rules! contract {
    ($new:expr) => {
        $crate::store::contract::contract!($new;
            an_append_is_read_back_and_told_once,
            seqs_are_dense_from_one,
            a_run_on_another_head_conflicts_and_leaves_nothing,
            ids_must_rise,
            a_run_that_breaks_the_rules_is_refused_whole,
            a_key_is_found_by_its_own_user_and_channel_alone,
            open_returns_the_keys_from_its_horizon_on_oldest_first,
            pages_are_cut_at_the_end_that_their_order_names,
            a_page_holds_one_event_however_large,
            heads_come_in_the_order_asked_and_unknown_channels_are_empty,
            ordinals_count_the_countable,
            the_feed_tells_every_group_once,
            the_high_water_is_the_largest_committed_id,
            a_group_holds_at_most_one_run_of_a_channel,
            large_and_empty_bodies_come_back_whole,
            close_commits_what_was_handed_over_and_then_refuses,
            reopening_finds_the_same
        );
    };
    ($new:expr; $($law:ident),*) => {
        $(
            #[test]
            fn $law() {
                $crate::store::contract::$law(&$new);
            }
        )*
    };
}
pub(crate) use contract;
