//! Images that a message carries itself, as `data:` URIs, for wires that want their bytes and not their address.

/// An image in base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inline<'a> {
    pub(super) media_type: &'a str,
    pub(super) data: &'a str,
}

impl<'a> Inline<'a> {
    /// Takes a `data:` URI apart (RFC 2397); anything else, and data that is not base64, is none.
    pub(super) fn of(url: &'a str) -> Option<Self> {
        let scheme = url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:"))?;
        let (head, data) = url[scheme.len()..].split_once(',')?;
        let head = head.strip_suffix(";base64")?;
        let media_type = head.split(';').next().unwrap_or_default().trim();
        (!data.is_empty()).then_some(Self { media_type, data: data.trim() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_base64_is_inline() {
        let inline = |media_type, data| Some(Inline { media_type, data });
        assert_eq!(Inline::of("data:image/png;base64,AA=="), inline("image/png", "AA=="));
        assert_eq!(Inline::of("DATA:image/png;name=x;base64,AA== "), inline("image/png", "AA=="));
        for other in ["data:image/png,raw", "data:image/png;base64,", "https://h/a.png", "data:", "é", ""] {
            assert_eq!(Inline::of(other), None, "{other}");
        }
    }
}
