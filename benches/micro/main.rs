//! Micro-benchmarks: `cargo bench --bench micro [FILTER]`. Under `cargo test` each runs once, tiny.

mod budget;
mod codec;
mod directory;
mod history;
mod snowflake;

criterion::criterion_group!(
    all,
    budget::benches,
    codec::benches,
    directory::benches,
    history::benches,
    snowflake::benches
);

fn main() {
    if history::is_victim() {
        return history::victim();
    }
    all();
    criterion::Criterion::default().configure_from_args().final_summary();
}

/// Whether this only has to run: cargo asks for a measurement by `--bench`.
fn is_test() -> bool {
    !std::env::args().any(|argument| argument == "--bench")
}
