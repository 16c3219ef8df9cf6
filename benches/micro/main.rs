//! Micro-benchmarks: `cargo bench --bench micro [FILTER]`. Under `cargo test` each runs once, tiny.

mod directory;
mod snowflake;

criterion::criterion_group!(all, directory::benches, snowflake::benches);
criterion::criterion_main!(all);
