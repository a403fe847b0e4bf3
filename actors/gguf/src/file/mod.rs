//! A GGUF file, mapped into memory: its header (metadata and the table of tensors) and the bytes of the tensors.
//!
//! Invariant: a [`Tensor`] that comes out of here lies within the file, is aligned as the file says, and has as many bytes
//! as its shape and format need. Every count in the header is checked against the bytes that are there before anything
//! is allocated for it, so a hostile header costs no more than its own length. Writing GGUF is absent, but for tests.

mod header;
mod reader;
mod value;

use std::path::Path;

use mmap_io::MemoryMappedFile;

use crate::error::GgufError;
use crate::quant::Quant;

pub(crate) use header::Header;
pub(crate) use value::{Array, Value};

/// A mapped file and its header.
///
/// The mapping is read-only. A file that somebody shortens while it is mapped takes the process down when the lost part is
/// read, as with any mapped file; models are replaced by renaming, not by writing into them.
pub(crate) struct GgufFile {
    map: MemoryMappedFile,
    header: Header,
}

/// Where a tensor lies and how it is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tensor {
    pub(crate) quant: Quant,
    /// Numbers in a row: the first dimension of the file.
    pub(crate) columns: usize,
    /// All other dimensions, multiplied.
    pub(crate) rows: usize,
    /// From the beginning of the file.
    pub(crate) offset: usize,
}

impl Tensor {
    /// Bytes of a row.
    pub(crate) fn row_bytes(&self) -> usize {
        self.quant.bytes(self.columns)
    }
}

impl GgufFile {
    /// Maps a file and reads its header.
    pub(crate) fn open(path: &Path) -> Result<Self, GgufError> {
        let meta = std::fs::metadata(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => GgufError::Missing(path.to_owned()),
            _ => GgufError::Unreadable(error.to_string()),
        })?;
        if !meta.is_file() {
            return Err(GgufError::Unreadable("it is not a file".into()));
        }
        if meta.len() == 0 {
            return Err(GgufError::NotGguf); // An empty file cannot be mapped.
        }
        let map = MemoryMappedFile::open_ro(path).map_err(|error| GgufError::Unreadable(error.to_string()))?;
        let header = Header::read(bytes_of(&map))?;
        Ok(Self { map, header })
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The whole file.
    pub(crate) fn bytes(&self) -> &[u8] {
        bytes_of(&self.map)
    }

    /// Rows of a tensor of this file, as they lie there.
    pub(crate) fn rows(&self, tensor: &Tensor, rows: std::ops::Range<usize>) -> &[u8] {
        let row = tensor.row_bytes();
        &self.bytes()[tensor.offset + rows.start * row..tensor.offset + rows.end * row]
    }

    /// Asks the system to read the whole file soon. Advice that is not taken is no error.
    pub(crate) fn read_ahead(&self) {
        let _ = self.map.prefetch_range(0, self.bytes().len() as u64);
    }
}

fn bytes_of(map: &MemoryMappedFile) -> &[u8] {
    // A read-only mapping always gives its bytes; an empty slice fails the header's checks.
    map.as_slice_bytes(0, map.len()).unwrap_or_default()
}
