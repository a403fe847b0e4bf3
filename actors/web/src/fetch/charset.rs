//! Bytes of a page as text.
//!
//! As browsers decide it: a byte order mark, then the header, then a `<meta>` near the start, then UTF-8 if it is valid,
//! else windows-1252. Never fails; what cannot be decoded becomes U+FFFD.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// Bytes in which a `<meta>` counts.
const PRESCAN: usize = 1_024;

/// Decodes `bytes`; `label` is the header's charset, `is_html` lets a `<meta>` count.
pub(super) fn decode<'a>(bytes: &'a [u8], label: Option<&str>, is_html: bool) -> Cow<'a, str> {
    let named = label.and_then(|label| Encoding::for_label(label.trim().as_bytes()));
    let meta = || if is_html { meta(bytes) } else { None };
    let encoding = named.or_else(meta).unwrap_or_else(|| match std::str::from_utf8(bytes) {
        Ok(_) => UTF_8,
        Err(_) => WINDOWS_1252,
    });
    // a byte order mark wins inside
    encoding.decode(bytes).0
}

/// What follows the first `charset=` inside the first bytes.
fn meta(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = bytes.get(..PRESCAN).unwrap_or(bytes).to_ascii_lowercase();
    let mark = b"charset=";
    let at = head.windows(mark.len()).position(|window| window == mark)?;
    let label = head.get(at + mark.len()..)?;
    let label = label.strip_prefix(b"\"").or_else(|| label.strip_prefix(b"'")).unwrap_or(label);
    let end = label.iter().position(|byte| b"\"'; />\n\r\t".contains(byte)).unwrap_or(label.len());
    let encoding = Encoding::for_label(label.get(..end)?)?;
    // a page that says UTF-16 in ASCII is none
    Some(if encoding.is_ascii_compatible() { encoding } else { UTF_8 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_charset_is_found_where_browsers_find_it() {
        assert_eq!(decode(b"caf\xe9", Some("iso-8859-1"), true), "café");
        assert_eq!(decode(b"caf\xe9", None, true), "café");
        assert_eq!(decode("café".as_bytes(), None, true), "café");
        assert_eq!(decode(b"<meta charset='windows-1251'>\xcf\xf0", None, true), "<meta charset='windows-1251'>Пр");
        assert_eq!(decode(b"<meta charset='windows-1251'>\xc3\xa9", None, false), "<meta charset='windows-1251'>é");
        let declared = b"<meta http-equiv=Content-Type content=\"text/html; charset=Shift_JIS\">\x93\xfa";
        assert!(decode(declared, None, true).ends_with('日'));
        assert_eq!(decode(b"\xef\xbb\xbfhi", Some("iso-8859-1"), true), "hi");
        assert_eq!(decode(b"\xff\xfeh\0i\0", Some("nonsense"), true), "hi");
        assert_eq!(decode(b"a\xff", Some("utf-8"), true), "a\u{fffd}");
    }
}
