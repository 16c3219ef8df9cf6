//! The committed messages are what the `.proto` files say.

use std::path::Path;

#[test]
fn generated_code_equals_the_committed_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files =
        protox::compile(["damso/v1/frame.proto"], [root]).expect("the .proto files compile");
    let out = std::env::temp_dir().join(format!("damso-gen-{}", std::process::id()));
    std::fs::create_dir_all(&out).expect("a temporary directory");
    prost_build::Config::new()
        .bytes(["."])
        // One order of entries: the same message is the same bytes.
        .btree_map(["."])
        .out_dir(&out)
        .compile_fds(files)
        .expect("code for the .proto files");
    let fresh = std::fs::read_to_string(out.join("damso.v1.rs")).expect("generated code");
    std::fs::remove_dir_all(&out).expect("the temporary directory goes");
    let committed = root.join("src/gen/damso.v1.rs");
    if std::env::var_os("DAMSO_REGENERATE").is_some() {
        std::fs::write(&committed, &fresh).expect("src/gen is writable");
    }
    let stored = std::fs::read_to_string(&committed).unwrap_or_default();
    assert!(fresh == stored, "run `DAMSO_REGENERATE=1 cargo test -p damso-proto generated`");
}
