//! Rows of weights, taken out of their blocks: as signed bytes with a scale and perhaps an offset for each group, which is
//! exact for every format here, or as floats.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::Quant;

/// A row as `scale × value − offset` for groups of [`Quant::group`] values.
#[derive(Default)]
pub(crate) struct Row {
    pub(crate) values: Vec<i8>,
    /// One for each group.
    pub(crate) scales: Vec<f32>,
    /// One for each group, or none at all.
    pub(crate) offsets: Vec<f32>,
}

impl Row {
    /// Unpacks the blocks of a row. What is no integer format gives an empty row.
    #[inline(always)]
    pub(crate) fn unpack(&mut self, quant: Quant, blocks: &[u8]) {
        self.values.clear();
        self.scales.clear();
        self.offsets.clear();
        match quant {
            Quant::Q4_0 => self.each(blocks, q4_0),
            Quant::Q4_1 => self.each(blocks, q4_1),
            Quant::Q5_0 => self.each(blocks, q5_0),
            Quant::Q5_1 => self.each(blocks, q5_1),
            Quant::Q8_0 => self.each(blocks, q8_0),
            Quant::Q2K => self.each(blocks, q2_k),
            Quant::Q3K => self.each(blocks, q3_k),
            Quant::Q4K => self.each(blocks, q4_k),
            Quant::Q5K => self.each(blocks, q5_k),
            Quant::Q6K => self.each(blocks, q6_k),
            Quant::F32 | Quant::F16 | Quant::Bf16 | Quant::Other(_) => {}
        }
    }

    #[inline(always)]
    fn each<const BYTES: usize, const VALUES: usize, const GROUPS: usize>(
        &mut self,
        blocks: &[u8],
        unpack: impl Fn(&[u8; BYTES]) -> Block<VALUES, GROUPS>,
    ) {
        for block in blocks.as_chunks::<BYTES>().0 {
            let block = unpack(block);
            self.values.extend_from_slice(&block.values);
            self.scales.extend_from_slice(&block.scales);
            if let Some(offsets) = block.offsets {
                self.offsets.extend_from_slice(&offsets);
            }
        }
    }
}

/// A row as floats.
#[inline(always)]
pub(crate) fn to_floats(quant: Quant, blocks: &[u8], row: &mut Row, out: &mut Vec<f32>) {
    out.clear();
    let pairs = blocks.as_chunks::<2>().0;
    match quant {
        Quant::F32 => out.extend(blocks.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
        Quant::Bf16 => out.extend(pairs.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32())),
        Quant::F16 => {
            // In pieces, so that the conversion by vectors has something to work on.
            let mut piece = [f16::ZERO; 64];
            for pairs in pairs.chunks(piece.len()) {
                let halves = &mut piece[..pairs.len()];
                halves.iter_mut().zip(pairs).for_each(|(half, bytes)| *half = f16::from_le_bytes(*bytes));
                let begin = out.len();
                out.resize(begin + halves.len(), 0.0);
                halves.convert_to_f32_slice(&mut out[begin..]);
            }
        }
        _ => {
            row.unpack(quant, blocks);
            let group = quant.group();
            for (n, (values, scale)) in row.values.chunks(group).zip(&row.scales).enumerate() {
                let offset = row.offsets.get(n).copied().unwrap_or_default();
                out.extend(values.iter().map(|value| scale * f32::from(*value) - offset));
            }
        }
    }
}

struct Block<const VALUES: usize, const GROUPS: usize> {
    values: [i8; VALUES],
    scales: [f32; GROUPS],
    offsets: Option<[f32; GROUPS]>,
}

#[inline(always)]
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[inline(always)]
fn q8_0(block: &[u8; 34]) -> Block<32, 1> {
    let values = std::array::from_fn(|n| block[2 + n] as i8);
    Block { values, scales: [half(block, 0)], offsets: None }
}

/// The 32 values of 16 bytes: the low nibbles, then the high ones.
#[inline(always)]
fn nibbles(bytes: &[u8]) -> [u8; 32] {
    std::array::from_fn(|n| if n < 16 { bytes[n] & 15 } else { bytes[n - 16] >> 4 })
}

/// The 32 values of 16 bytes, with a fifth bit from elsewhere.
#[inline(always)]
fn five_bits(bytes: &[u8], high: &[u8]) -> [u8; 32] {
    let high = u32::from_le_bytes([high[0], high[1], high[2], high[3]]);
    let low = nibbles(bytes);
    std::array::from_fn(|n| low[n] | (((high >> n) & 1) << 4) as u8)
}

#[inline(always)]
fn q4_0(block: &[u8; 18]) -> Block<32, 1> {
    Block { values: nibbles(&block[2..]).map(|n| n as i8 - 8), scales: [half(block, 0)], offsets: None }
}

#[inline(always)]
fn q4_1(block: &[u8; 20]) -> Block<32, 1> {
    let offsets = Some([-half(block, 2)]);
    Block { values: nibbles(&block[4..]).map(|n| n as i8), scales: [half(block, 0)], offsets }
}

#[inline(always)]
fn q5_0(block: &[u8; 22]) -> Block<32, 1> {
    let values = five_bits(&block[6..], &block[2..6]).map(|n| n as i8 - 16);
    Block { values, scales: [half(block, 0)], offsets: None }
}

#[inline(always)]
fn q5_1(block: &[u8; 24]) -> Block<32, 1> {
    let values = five_bits(&block[8..], &block[4..8]).map(|n| n as i8);
    Block { values, scales: [half(block, 0)], offsets: Some([-half(block, 2)]) }
}

/// Value `n` of 256 in fields of two bits: 32 bytes hold 128 values, the lowest two bits of them the first 32.
#[inline(always)]
fn two_bits(bytes: &[u8], n: usize) -> u8 {
    (bytes[n / 128 * 32 + n % 32] >> (n % 128 / 32 * 2)) & 3
}

#[inline(always)]
fn q2_k(block: &[u8; 84]) -> Block<256, 16> {
    let (scale, least) = (half(block, 80), half(block, 82));
    Block {
        values: std::array::from_fn(|n| two_bits(&block[16..80], n) as i8),
        scales: std::array::from_fn(|n| scale * f32::from(block[n] & 15)),
        offsets: Some(std::array::from_fn(|n| least * f32::from(block[n] >> 4))),
    }
}

#[inline(always)]
fn q3_k(block: &[u8; 110]) -> Block<256, 16> {
    let (high, low, packed, scale) = (&block[..32], &block[32..96], &block[96..108], half(block, 108));
    Block {
        values: std::array::from_fn(|n| {
            let third = (high[n % 32] >> (n / 32)) & 1;
            (two_bits(low, n) | (third << 2)) as i8 - 4
        }),
        scales: std::array::from_fn(|n| {
            let low = if n < 8 { packed[n] & 15 } else { packed[n - 8] >> 4 };
            let high = (packed[8 + n % 4] >> (n / 4 * 2)) & 3;
            scale * (f32::from(low | (high << 4)) - 32.0)
        }),
        offsets: None,
    }
}

/// Scale and offset of group `n` of 8, six bits each in twelve bytes.
#[inline(always)]
fn six_bits(packed: &[u8], n: usize) -> (u8, u8) {
    if n < 4 {
        (packed[n] & 63, packed[n + 4] & 63)
    } else {
        let (low, scale, offset) = (packed[n + 4], packed[n - 4] >> 6, packed[n] >> 6);
        ((low & 15) | (scale << 4), (low >> 4) | (offset << 4))
    }
}

#[inline(always)]
fn groups_of_32(block: &[u8]) -> ([f32; 8], Option<[f32; 8]>) {
    let (scale, least, packed) = (half(block, 0), half(block, 2), &block[4..16]);
    let offsets = std::array::from_fn(|n| least * f32::from(six_bits(packed, n).1));
    (std::array::from_fn(|n| scale * f32::from(six_bits(packed, n).0)), Some(offsets))
}

/// The nibble of value `n` of 256: 32 bytes hold 64 values, the low nibbles the first 32.
#[inline(always)]
fn nibble(bytes: &[u8], n: usize) -> u8 {
    (bytes[n / 64 * 32 + n % 32] >> (n % 64 / 32 * 4)) & 15
}

#[inline(always)]
fn q4_k(block: &[u8; 144]) -> Block<256, 8> {
    let (scales, offsets) = groups_of_32(block);
    Block { values: std::array::from_fn(|n| nibble(&block[16..], n) as i8), scales, offsets }
}

#[inline(always)]
fn q5_k(block: &[u8; 176]) -> Block<256, 8> {
    let (scales, offsets) = groups_of_32(block);
    let values = std::array::from_fn(|n| {
        let high = (block[16 + n % 32] >> (n / 32)) & 1;
        (nibble(&block[48..], n) | (high << 4)) as i8
    });
    Block { values, scales, offsets }
}

#[inline(always)]
fn q6_k(block: &[u8; 210]) -> Block<256, 16> {
    let (low, high, scale) = (&block[..128], &block[128..192], half(block, 208));
    Block {
        values: std::array::from_fn(|n| {
            let (part, place) = (n / 128, n % 128);
            let low = (low[part * 64 + place % 64] >> (place / 64 * 4)) & 15;
            let high = (high[part * 32 + place % 32] >> (place / 32 * 2)) & 3;
            (low | (high << 4)) as i8 - 32
        }),
        scales: std::array::from_fn(|n| scale * f32::from(block[192 + n] as i8)),
        offsets: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::quantized::{GgmlDType, QTensor};
    use candle_core::{Device, Tensor};

    /// Candle reads the same bytes as the same numbers.
    #[test]
    fn every_format_is_read_as_candle_reads_it() {
        let numbers: Vec<f32> = (0..512u32).map(|n| ((n * 7919 % 1013) as f32 / 506.0 - 1.0) * 0.3).collect();
        let tensor = Tensor::from_slice(&numbers, (2, 256), &Device::Cpu).expect("a tensor");
        for (kind, quant) in [
            (GgmlDType::F32, Quant::F32),
            (GgmlDType::F16, Quant::F16),
            (GgmlDType::Q4_0, Quant::Q4_0),
            (GgmlDType::Q4_1, Quant::Q4_1),
            (GgmlDType::Q5_0, Quant::Q5_0),
            (GgmlDType::Q5_1, Quant::Q5_1),
            (GgmlDType::Q8_0, Quant::Q8_0),
            (GgmlDType::Q2K, Quant::Q2K),
            (GgmlDType::Q3K, Quant::Q3K),
            (GgmlDType::Q4K, Quant::Q4K),
            (GgmlDType::Q5K, Quant::Q5K),
            (GgmlDType::Q6K, Quant::Q6K),
        ] {
            let packed = QTensor::quantize(&tensor, kind).expect("packed");
            let expected =
                packed.dequantize(&Device::Cpu).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1::<f32>());
            let (mut row, mut found) = (Row::default(), Vec::new());
            let data = packed.data().expect("bytes");
            assert_eq!(data.len(), quant.bytes(512), "{quant}");
            to_floats(quant, &data, &mut row, &mut found);
            assert_eq!(row.scales.len() * quant.group(), row.values.len(), "{quant}");
            for (found, expected) in found.iter().zip(expected.expect("numbers")) {
                assert!((found - expected).abs() <= 1e-6, "{quant}: {found} is not {expected}");
            }
        }
    }
}
