//! Reading `model.safetensors`.
//!
//! Tensors are read one at a time and packed at once, so that the file never lies in memory as a whole. The table of
//! words, half of the file, is not held at all: the few rows that a text needs are read where they lie, which the page
//! cache makes as cheap as memory.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use safetensors::tensor::Metadata;

/// No header is longer.
const LONGEST_HEADER: u64 = 1 << 20;

/// An open weights file.
pub(crate) struct Weights {
    file: File,
    metadata: Metadata,
    data: u64,
}

impl Weights {
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let why = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let mut file = File::open(path).map_err(|error| why(&error))?;
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|error| why(&error))?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER {
            return Err(why(&"not a safetensors file"));
        }
        let mut header = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact(&mut header).map_err(|error| why(&error))?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| why(&error))?;
        let size = file.metadata().map_err(|error| why(&error))?.len();
        if 8 + length + metadata.data_len() as u64 > size {
            return Err(why(&"the file is cut off"));
        }
        Ok(Self { file, metadata, data: 8 + length })
    }

    /// A tensor of the given shape, row-major.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let (info, begin) = self.find(name, shape)?;
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        self.file.read_exact_at(&mut bytes, begin).map_err(|error| format!("{name}: {error}"))?;
        let tensor = || {
            Tensor::from_raw_buffer(&bytes, DType::try_from(info.dtype)?, shape, &Device::Cpu)?
                .to_dtype(DType::F32)?
                .flatten_all()?
                .to_vec1()
        };
        tensor().map_err(|error| format!("{name}: {error}"))
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<(&safetensors::tensor::TensorInfo, u64), String> {
        let info = self.metadata.info(name).ok_or_else(|| format!("{name} is missing"))?;
        if info.shape != shape {
            return Err(format!("{name} has the shape {:?} and not {shape:?}", info.shape));
        }
        Ok((info, self.data + info.data_offsets.0 as u64))
    }

    /// The rows of a table of `rows` × `width`, read from the file each time.
    pub(crate) fn table(self, name: &str, rows: usize, width: usize) -> Result<Table, String> {
        let (info, begin) = self.find(name, &[rows, width])?;
        if info.dtype != Dtype::F32 {
            return Err(format!("{name} is not in f32"));
        }
        Ok(Table { begin, rows, bytes: 4 * width, file: self.file })
    }
}

/// A table of f32 in a file.
pub(crate) struct Table {
    file: File,
    begin: u64,
    rows: usize,
    bytes: usize,
}

impl Table {
    /// Reads row `index` into `row`; an index beyond the table gives an error.
    pub(crate) fn read(&self, index: u32, room: &mut Vec<u8>, row: &mut [f32]) -> Result<(), String> {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        if index >= self.rows {
            return Err(format!("no row {index}"));
        }
        room.resize(self.bytes, 0);
        let at = self.begin + (index * self.bytes) as u64;
        self.file.read_exact_at(room, at).map_err(|error| format!("reading the weights: {error}"))?;
        for (number, bytes) in row.iter_mut().zip(room.as_chunks::<4>().0) {
            *number = f32::from_le_bytes(*bytes);
        }
        Ok(())
    }
}
