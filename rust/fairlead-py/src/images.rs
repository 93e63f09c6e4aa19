//! Images: PNG of pixels, and names for contents.
//!
//! Decoding and everything about formats stay with Pillow; here is what decides about the time of a step: encoding (its
//! `zlib` takes ten times as long on photographs) and hashing.

use png::{BitDepth, ColorType, Compression, Encoder};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Encode pixels as PNG, losslessly; the interpreter is free meanwhile.
///
/// Args:
///     pixels: Rows from the top without padding, one byte per channel.
///     width, height: In pixels.
///     channels: 1 (gray), 2 (gray, alpha), 3 (RGB) or 4 (RGBA).
///     icc_profile: A colour profile to embed, or None.
///
/// Raises:
///     ValueError: The sizes don't fit together.
#[pyfunction]
#[pyo3(signature = (pixels, width, height, channels, icc_profile = None))]
pub(crate) fn encode_png<'py>(
    py: Python<'py>,
    pixels: &Bound<'py, PyBytes>,
    width: u32,
    height: u32,
    channels: u8,
    icc_profile: Option<Vec<u8>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let color = match channels {
        1 => ColorType::Grayscale,
        2 => ColorType::GrayscaleAlpha,
        3 => ColorType::Rgb,
        4 => ColorType::Rgba,
        _ => return Err(PyValueError::new_err(format!("an image of {channels} channels"))),
    };
    let bytes = pixels.as_bytes();
    let encoded = py
        .detach(|| {
            let mut info = png::Info::with_size(width, height);
            info.color_type = color;
            info.bit_depth = BitDepth::Eight;
            info.icc_profile = icc_profile.map(Into::into);
            let quick = compress(bytes, info.clone(), Compression::Fast)?;
            if quick.len() > bytes.len() / FLAT {
                return Ok(quick);
            }
            let small = compress(bytes, info, Compression::Balanced)?;
            Ok(if small.len() < quick.len() { small } else { quick })
        })
        .map_err(|error: png::EncodingError| PyValueError::new_err(error.to_string()))?;
    Ok(PyBytes::new(py, &encoded))
}

/// Pixels that shrink to less than this part are flat, as screenshots and plots are: looking for longer repetitions
/// costs little there and makes a fraction of the size. On photographs it costs ten times as much and brings a tenth.
const FLAT: usize = 12;

fn compress(pixels: &[u8], info: png::Info<'_>, level: Compression) -> Result<Vec<u8>, png::EncodingError> {
    let mut encoded = Vec::with_capacity(pixels.len() / 2 + 1024);
    let mut encoder = Encoder::with_info(&mut encoded, info)?;
    encoder.set_compression(level);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(encoded)
}

/// A name for a content: 32 bytes that differ for different contents, even if someone tries to make them equal.
///
/// Images come from pages and files of anyone: with a hash that can be forged, one image could be shown to the model as
/// another. BLAKE3 can't, and is about as quick as copying the pixels out of Pillow; the interpreter is free meanwhile.
///
/// Args:
///     data: The content.
#[pyfunction]
#[pyo3(signature = (data, /))]
pub(crate) fn content_hash<'py>(py: Python<'py>, data: &Bound<'py, PyBytes>) -> Bound<'py, PyBytes> {
    let bytes = data.as_bytes();
    PyBytes::new(py, py.detach(|| blake3::hash(bytes)).as_bytes())
}
