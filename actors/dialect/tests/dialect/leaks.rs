//! Leaked protocol in answers (providers.md §7.5, §12.9).

use greenroom_dialect::LeakFilter;
use proptest::prelude::*;

fn run<'a>(pieces: impl IntoIterator<Item = &'a str>) -> String {
    let mut filter = LeakFilter::new();
    let mut clean: String = pieces.into_iter().map(|piece| filter.push(piece.to_owned())).collect();
    clean.push_str(&filter.finish());
    clean
}

fn cleans(text: &str, expected: &str) {
    assert_eq!(LeakFilter::whole(text), expected, "{text:?}");
    for (cut, _) in text.char_indices() {
        let (a, b) = text.split_at(cut);
        assert_eq!(run([a, b]), expected, "{text:?} cut at {cut}");
    }
    let letters: Vec<String> = text.chars().map(String::from).collect();
    assert_eq!(run(letters.iter().map(String::as_str)), expected, "{text:?} letter by letter");
}

#[test]
fn protocol_is_taken_out() {
    for (text, expected) in [
        ("a <tool_call>{\"name\": \"x<y\", \"b\": \"</tool_call>\"}</tool_call> b", "a b"),
        ("a\n<TOOL_CALL>\n{\"name\": 1}\n</TOOL_CALL>\nb", "a\n\nb"),
        ("<tool_call>{\"name\": \"x\"}", ""),
        ("a <tool_call>{\"name\": \"x\"} b", "a b"),
        ("a <function_call>[1]</function_call> b", "a b"),
        ("a <tool_call>search the web</tool_call> b", "a b"),
        ("a <tool_call>search the web and more\nb", "a search the web and more\nb"),
        ("a </tool_call> b", "a b"),
        ("a <tool_call><function=x><parameter=y>z</parameter></function></tool_call> b", "a b"),
        ("a <tool_result name=\"x\" status=\"success\">\nz\n</tool_result> b", "a b"),
        ("x {\"tool_uses\": [{\"recipient_name\": \"functions.a\", \"parameters\": {\"b\": \"}]}\"}}]} y", "x y"),
        ("{ \"tool_uses\" : [1", ""),
        ("Now to=functions.search {\"query\": 1}\nand on", "Now \nand on"),
        ("to=multi_tool_use.parallel code<|x|>", ""),
        ("a\u{0}b\u{1b}c\u{7f}d\u{85}e\tf", "abcde\tf"),
    ] {
        cleans(text, expected);
    }
}

#[test]
fn text_without_leaks_keeps_its_bytes() {
    for text in [
        "| a    | b  |\n|------|----|\n| long | c  |",
        "line  \nbreak,  two  blanks\n\n  - item\n      deep",
        "{\"answer\":  \"a   b\", \"tool\": {\"tool_use\": [1]}}",
        "to=function is not it, goto=functions.x neither, to be or to",
        "Use `<tool_call>` and `</tool_call>` for it, <tool_cal> or <toolbox>, 1 < 2 {x}",
        "no-break\u{a0}space, «é», 日本, ½°",
        "    code\nmore",
    ] {
        cleans(text, text);
    }
}

#[test]
fn blank_space_around_and_between_is_tidied() {
    cleans("  \n Hello. \n\n\n\n  World. \n\n", "Hello. \n\n  World. ");
    cleans(" Hi", "Hi");
    cleans("\n\n", "");
    cleans("a\r\n\r\n\r\nb", "a\n\nb");
    cleans("a\n \n\n b", "a\n\n b");
}

#[test]
fn code_fences_are_byte_identical() {
    let fence =
        "```text\n\n\n\n<tool_call>{\"name\": \"x\"}</tool_call>  \u{1}\t \nto=functions.x y\n{\"tool_uses\": []}\n```";
    cleans(&format!("See:\n\n{fence}\n\n\n\nEnd. <tool_call>{{}}</tool_call>"), &format!("See:\n\n{fence}\n\nEnd. "));
    cleans("~~~\n\n\n\n~~\n", "~~~\n\n\n\n~~\n");
    cleans("```0`\n", "```0`");
    cleans("``` not a fence ` <tool_call>{}</tool_call> x", "``` not a fence ` x");
}

#[test]
fn ordinary_pieces_pass_at_once_and_as_they_are() {
    let mut filter = LeakFilter::new();
    for piece in ["The", " cat", " sat", " t", "here", ",", " and", " 't", "was", " so", ".\n", "Then", " it", " left"]
    {
        let owned = piece.to_owned();
        let address = owned.as_ptr();
        let passed = filter.push(owned);
        let held = matches!(piece, " t" | "here" | ".\n" | "Then");
        assert!(held || (passed == piece), "{piece:?}: {passed:?}");
        assert!(held || piece == "The" || passed.as_ptr() == address, "{piece:?} was copied");
    }
    assert_eq!(filter.finish(), "");
}

#[test]
fn an_endless_leak_costs_no_memory() {
    let mut filter = LeakFilter::new();
    assert_eq!(filter.push("<tool_call>{\"a\": \"".to_owned()), "");
    for _ in 0..1000 {
        assert_eq!(filter.push("x".repeat(1000)), "");
    }
    assert_eq!(filter.push("\"}</tool_call>Hi".to_owned()), "Hi");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn cuts_do_not_matter(
        words in prop::collection::vec(prop::sample::select(vec![
            "<tool_call>", "</tool_call>", "<tool_result", ">", "{", "}", "{\"tool_uses\":[", "\"", "]", "to=functions.a",
            "to=", "t", "<", "</", "`", "```", "~~~", "\n", " ", "  ", "\t", "\r\n", "a", "é", "\u{85}", "\u{1}", ":", "x y",
        ]), 0..24),
        cuts in prop::collection::vec(0usize..200, 0..6),
    ) {
        let text = words.concat();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| text.floor_char_boundary(cut)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut at = 0;
        for cut in cuts {
            pieces.push(&text[at..cut]);
            at = cut;
        }
        pieces.push(&text[at..]);
        prop_assert_eq!(run(pieces), LeakFilter::whole(&text));
    }

    #[test]
    fn no_call_gets_through(before in "[a-z .\n]{0,20}", name in "[a-z]{1,8}", value in "[a-z<>{}/ ]{0,20}", after in "[a-z .\n]{0,20}") {
        let call = serde_json::json!({"name": name, "arguments": {"v": value}});
        let clean = LeakFilter::whole(&format!("{before}<tool_call>{call}</tool_call>{after}"));
        prop_assert!(!clean.contains("tool_call") && !clean.contains("arguments"), "{clean}");
    }

    #[test]
    fn plain_text_is_kept(text in "[A-Za-z0-9,.!?'\"()é<>={}-]([ -~é\n]{0,80}[A-Za-z0-9.])?") {
        prop_assume!(text.split(|c: char| c != ' ' && c != '\n').all(|gap| gap.matches('\n').count() < 3) && !text.contains("to="));
        prop_assert_eq!(LeakFilter::whole(&text), text);
    }
}
