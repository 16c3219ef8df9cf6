//! Lists of which each channel or connection has one: they grow by a quarter.
//!
//! Doubling is for lists of which there are few. Most of these have a handful of entries or one,
//! and what doubling leaves empty, tens of thousands of times, is more than what they hold.

/// Adds an entry at the end.
pub(super) fn push<T>(list: &mut Vec<T>, entry: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 4 + 1);
    }
    list.push(entry);
}

/// Lets go of what a list that has become short holds empty.
pub(super) fn shrink<T>(list: &mut Vec<T>) {
    if list.capacity() > 16 && list.len() * 4 < list.capacity() {
        list.shrink_to(list.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_holds_little_that_is_empty_however_long_it_becomes() {
        let mut list = Vec::new();
        let mut moves = 0;
        for length in 1..=10_000 {
            let before = list.capacity();
            push(&mut list, 0_u64);
            moves += u32::from(list.capacity() != before);
            assert!(list.capacity() - length <= length / 4, "{length}: {}", list.capacity());
        }
        assert!(moves < 50, "{moves}");
    }

    #[test]
    fn a_list_that_was_long_gives_its_memory_back() {
        let mut list = Vec::new();
        (0..10_000).for_each(|entry| push(&mut list, entry));
        while list.len() > 1 {
            list.pop();
            shrink(&mut list);
            assert!(list.capacity() <= 16.max(list.len() * 4), "{}", list.len());
        }
    }
}
