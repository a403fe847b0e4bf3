//! A cursor over the bytes of a header.

use crate::error::GgufError;

/// Longest key, name or string of the metadata that is worth keeping; chat templates and licences are the longest.
const MAX_STRING: u64 = 8 << 20;

/// Reads little-endian numbers and strings; never beyond the end.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> u64 {
        (self.bytes.len() - self.at) as u64
    }

    pub(super) fn take(&mut self, count: u64) -> Result<&'a [u8], GgufError> {
        if count > self.left() {
            let expected = (self.at as u64).saturating_add(count);
            return Err(GgufError::Truncated { expected, found: self.bytes.len() as u64 });
        }
        let begin = self.at;
        self.at += usize::try_from(count).unwrap_or(0);
        Ok(&self.bytes[begin..self.at])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        let bytes = self.take(N as u64)?;
        bytes.try_into().map_err(|_| GgufError::Malformed("a number is too short".into()))
    }

    pub(super) fn u32(&mut self) -> Result<u32, GgufError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, GgufError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A string as it lies there.
    pub(super) fn raw_string(&mut self) -> Result<&'a [u8], GgufError> {
        let length = self.u64()?;
        if length > MAX_STRING {
            return Err(GgufError::Malformed(format!("a string of {length} bytes")));
        }
        self.take(length)
    }

    /// A string; bytes that are not UTF-8 become replacement characters.
    pub(super) fn string(&mut self) -> Result<String, GgufError> {
        Ok(String::from_utf8_lossy(self.raw_string()?).into_owned())
    }
}
