//! The splitter in the ReAct form and, for rescue, natively.
#![no_main]

use greenroom_dialect::ToolFormat;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Some((text, length)) = greenroom_fuzz::cut(data) {
        greenroom_fuzz::check(ToolFormat::React, text, length);
        greenroom_fuzz::check(ToolFormat::Native, text, length);
    }
});
