//! Writes GGUF, version 3.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use half::f16;

use crate::quant::Quant;

const ALIGNMENT: usize = 32;

/// Collects metadata and tensors.
#[derive(Default)]
pub(super) struct Writer {
    values: u64,
    metadata: Vec<u8>,
    tensors: Vec<Tensor>,
}

struct Tensor {
    name: String,
    columns: usize,
    rows: usize,
    quant: Quant,
    /// Numbers are `centre` ± `spread`.
    centre: f32,
    spread: f32,
}

impl Tensor {
    fn bytes(&self) -> usize {
        self.quant.bytes(self.columns) * self.rows
    }
}

impl Writer {
    fn key(&mut self, key: &str, kind: u32) {
        self.values += 1;
        put_text(&mut self.metadata, key);
        self.metadata.extend(kind.to_le_bytes());
    }

    pub(super) fn number(&mut self, key: &str, value: usize) {
        self.key(key, 4);
        self.metadata.extend(u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
    }

    pub(super) fn float(&mut self, key: &str, value: f32) {
        self.key(key, 6);
        self.metadata.extend(value.to_le_bytes());
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.key(key, 7);
        self.metadata.push(value.into());
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key, 8);
        put_text(&mut self.metadata, value);
    }

    fn array(&mut self, key: &str, kind: u32, length: usize) {
        self.key(key, 9);
        self.metadata.extend(kind.to_le_bytes());
        self.metadata.extend((length as u64).to_le_bytes());
    }

    pub(super) fn texts(&mut self, key: &str, values: &[String]) {
        self.array(key, 8, values.len());
        values.iter().for_each(|value| put_text(&mut self.metadata, value));
    }

    pub(super) fn floats(&mut self, key: &str, values: &[f32]) {
        self.array(key, 6, values.len());
        values.iter().for_each(|value| self.metadata.extend(value.to_le_bytes()));
    }

    pub(super) fn kinds(&mut self, key: &str, values: &[i32]) {
        self.array(key, 5, values.len());
        values.iter().for_each(|value| self.metadata.extend(value.to_le_bytes()));
    }

    /// A matrix that keeps the size of what it is multiplied with, `gain` times.
    pub(super) fn matrix(&mut self, name: &str, quant: Quant, columns: usize, rows: usize, gain: f32) {
        // Numbers that are spread evenly over ± √3 have a variance of 1.
        let spread = gain * (3.0 / columns as f32).sqrt();
        self.tensors.push(Tensor { name: name.to_owned(), columns, rows, quant, centre: 0.0, spread });
    }

    pub(super) fn vector(&mut self, name: &str, length: usize, centre: f32, spread: f32) {
        let name = name.to_owned();
        self.tensors.push(Tensor { name, columns: length, rows: 1, quant: Quant::F32, centre, spread });
    }

    pub(super) fn finish(self, path: &Path) -> io::Result<()> {
        let mut header = b"GGUF".to_vec();
        header.extend(3u32.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend(self.values.to_le_bytes());
        header.extend(&self.metadata);
        let mut offset = 0;
        for tensor in &self.tensors {
            put_text(&mut header, &tensor.name);
            // A vector has one dimension.
            let dimensions = if tensor.rows == 1 { &[tensor.columns][..] } else { &[tensor.columns, tensor.rows] };
            header.extend((dimensions.len() as u32).to_le_bytes());
            dimensions.iter().for_each(|size| header.extend((*size as u64).to_le_bytes()));
            header.extend(u32::from(if tensor.quant == Quant::Q8_0 { 8u8 } else { 0 }).to_le_bytes());
            header.extend((offset as u64).to_le_bytes());
            offset += tensor.bytes().next_multiple_of(ALIGNMENT);
        }
        header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&header)?;
        for tensor in &self.tensors {
            let mut random = Random::new(&tensor.name);
            let mut written = 0;
            let mut block = [0.0; 32];
            let numbers = tensor.columns * tensor.rows;
            for begin in (0..numbers).step_by(block.len()) {
                let block = &mut block[..(numbers - begin).min(32)];
                block.iter_mut().for_each(|number| *number = tensor.centre + tensor.spread * random.next());
                let bytes = if tensor.quant == Quant::Q8_0 { quantized(block) } else { plain(block) };
                file.write_all(&bytes)?;
                written += bytes.len();
            }
            file.write_all(&[0; ALIGNMENT][..written.next_multiple_of(ALIGNMENT) - written])?;
        }
        file.flush()
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

fn plain(block: &[f32]) -> Vec<u8> {
    block.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn quantized(block: &[f32]) -> Vec<u8> {
    let most = block.iter().fold(0.0f32, |most, number| most.max(number.abs()));
    let scale = f16::from_f32(most / 127.0);
    let inverse = if most > 0.0 { 127.0 / most } else { 0.0 };
    let values = block.iter().map(|number| (number * inverse).round() as i8 as u8);
    scale.to_le_bytes().into_iter().chain(values).collect()
}

/// Numbers from −1 to 1 that depend on nothing but a name; SplitMix64.
struct Random(u64);

impl Random {
    fn new(name: &str) -> Self {
        // FNV-1a.
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
        Self(name.bytes().fold(0xCBF2_9CE4_8422_2325, hash))
    }

    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}
