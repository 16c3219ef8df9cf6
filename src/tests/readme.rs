//! The landing page says the same in both its languages, as far as commands and links go.

/// Commands of a page, comments left out.
fn commands(page: &str) -> Vec<&str> {
    let blocks = page.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
    let lines = blocks.flat_map(str::lines).map(|line| match line.split_once("  #") {
        Some((command, _)) => command.trim_end(),
        None => line.trim_end(),
    });
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Where a page points to, headings of its own and the other language left out.
fn links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let mut targets: Vec<_> =
        targets.filter(|to| !to.starts_with('#') && !to.starts_with("README")).collect();
    targets.sort_unstable();
    targets
}

#[test]
fn both_landing_pages_give_the_same_commands_and_links() {
    let (english, korean) = (include_str!("../../README.md"), include_str!("../../README.ko.md"));
    assert!(commands(english).len() > 10, "the commands were found");
    assert_eq!(commands(english), commands(korean));
    assert_eq!(links(english), links(korean));
    let headings = |page: &str| page.lines().filter(|line| line.starts_with('#')).count();
    assert_eq!(headings(english), headings(korean));
}
