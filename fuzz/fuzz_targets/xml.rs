//! The splitter in the XML form, and the sanitiser behind every form.
#![no_main]

use greenroom_dialect::{LeakFilter, ToolFormat};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((text, length)) = greenroom_fuzz::cut(data) {
        greenroom_fuzz::check(ToolFormat::Xml, text, length);
        let (prose, _) = greenroom_fuzz::run(ToolFormat::None, text, length);
        assert_eq!(prose, LeakFilter::whole(text));
    }
});
