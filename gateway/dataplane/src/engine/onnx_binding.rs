//! ONNX Runtime's bindings over buffers of our own, by its C interface: all of this engine's unsafe
//! calls. The `ort` crate binds only tensors that it owns.

use std::ffi::{CStr, CString};
use std::ptr;

use ort::AsPointer;
use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::sys::{self, ONNXTensorElementDataType as Element, OrtIoBinding, OrtMemoryInfo, OrtValue};

use super::{Buffer, Buffers};
use crate::strings;
use crate::tensor::{Bucket, DataType, TensorSpec};

fn element(ty: DataType) -> Element {
    match ty {
        DataType::Bytes => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
        DataType::Bool => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
        DataType::Uint8 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        DataType::Uint16 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        DataType::Uint32 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
        DataType::Uint64 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
        DataType::Int8 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        DataType::Int16 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        DataType::Int32 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        DataType::Int64 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        DataType::Fp16 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        DataType::Bf16 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        DataType::Fp32 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        DataType::Fp64 => Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
    }
}

/// Turns ONNX Runtime's status into a sentence and frees it.
fn check(status: sys::OrtStatusPtr) -> Result<(), String> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: a non-null status is valid until released, and its message is NUL-terminated.
    unsafe {
        let message = CStr::from_ptr((ort::api().GetErrorMessage)(status.0));
        let message = message.to_string_lossy().into_owned();
        (ort::api().ReleaseStatus)(status.0);
        Err(message)
    }
}

/// Gives a session that is being built the files that its graph's weights lie in.
pub fn give_weights(builder: &mut SessionBuilder, files: &[(String, &[u8])]) -> Result<(), String> {
    for (name, bytes) in files {
        let name = CString::new(name.as_str()).map_err(|e| e.to_string())?;
        // SAFETY: one name, one buffer and its length; ONNX Runtime reads the buffer until the
        // session is made, which is before the slice's owner lets go of it, and writes nothing.
        check(unsafe {
            (ort::api().AddExternalInitializersFromMemory)(
                builder.ptr_mut(),
                &name.as_ptr(),
                &bytes.as_ptr().cast_mut().cast(),
                &bytes.len(),
                1,
            )
        })?;
    }
    Ok(())
}

pub struct MemoryInfo(*mut OrtMemoryInfo);

impl MemoryInfo {
    pub fn cpu() -> Result<Self, String> {
        let mut info = ptr::null_mut();
        // SAFETY: `info` is a valid place for the result, which `Drop` releases.
        check(unsafe {
            (ort::api().CreateCpuMemoryInfo)(
                sys::OrtAllocatorType::OrtDeviceAllocator,
                sys::OrtMemType::OrtMemTypeDefault,
                &mut info,
            )
        })?;
        Ok(Self(info))
    }
}

impl Drop for MemoryInfo {
    fn drop(&mut self) {
        // SAFETY: made by `cpu` and released once.
        unsafe { (ort::api().ReleaseMemoryInfo)(self.0) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Input,
    Output,
}

/// An `OrtIoBinding` and the values bound to it. The values point into buffers that the caller
/// keeps in place as long as the binding lives.
pub struct Binding {
    raw: *mut OrtIoBinding,
    values: Vec<*mut OrtValue>,
    /// Names of the inputs, and their values.
    inputs: Vec<(CString, *mut OrtValue)>,
    strings: Vec<Strings>,
}

/// A tensor of strings, which ONNX Runtime keeps in memory of its own: copied from and to the
/// buffer's cells at each run.
struct Strings {
    /// One of the binding's values.
    value: *mut OrtValue,
    /// Which of the buffers holds the cells, and of which size and number they are.
    place: usize,
    cell: usize,
    elements: usize,
    side: Side,
    name: String,
}

// SAFETY: ONNX Runtime's bindings and values have no thread affinity; a `Binding` is owned by one
// lane and used by one thread at a time.
unsafe impl Send for Binding {}

impl Binding {
    pub fn new(session: &Session) -> Result<Self, String> {
        let mut raw = ptr::null_mut();
        // SAFETY: the session is alive, `raw` a valid place for the result, which `Drop` releases.
        check(unsafe { (ort::api().CreateIoBinding)(session.ptr().cast_mut(), &mut raw) })?;
        Ok(Self {
            raw,
            values: Vec::new(),
            inputs: Vec::new(),
            strings: Vec::new(),
        })
    }

    /// Binds the front of `buffer`, one batch of the bucket's shape.
    pub fn bind(
        &mut self,
        memory: &MemoryInfo,
        spec: &TensorSpec,
        buffer: &mut Buffer,
        bucket: Bucket,
        side: Side,
    ) -> Result<(), String> {
        let shape = spec.batch_shape(bucket);
        let bytes = &mut buffer.as_bytes_mut()[..spec.batch_bytes(bucket)];
        let name = CString::new(spec.name.as_str()).map_err(|e| e.to_string())?;
        let mut value = ptr::null_mut();
        // SAFETY: the pointer and length are those of a live slice that holds exactly the elements
        // of `shape`; the value is kept in `values` and released after the binding.
        check(unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(
                memory.0,
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                shape.as_ptr(),
                shape.len(),
                element(spec.datatype),
                &mut value,
            )
        })?;
        self.values.push(value);
        self.keep(name, value, side)
    }

    /// Binds a tensor of strings whose cells are in the buffer at `place`.
    pub fn bind_strings(
        &mut self,
        spec: &TensorSpec,
        place: usize,
        bucket: Bucket,
        side: Side,
    ) -> Result<(), String> {
        let shape = spec.batch_shape(bucket);
        let name = CString::new(spec.name.as_str()).map_err(|e| e.to_string())?;
        let (mut allocator, mut value) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: valid places for results; the value is kept in `values` and released after the
        // binding. The default allocator lives as long as the library.
        unsafe {
            check((ort::api().GetAllocatorWithDefaultOptions)(&mut allocator))?;
            check((ort::api().CreateTensorAsOrtValue)(
                allocator,
                shape.as_ptr(),
                shape.len(),
                element(spec.datatype),
                &mut value,
            ))?;
        }
        self.values.push(value);
        let cell = spec.element_bytes();
        self.strings.push(Strings {
            value,
            place,
            cell,
            elements: spec.batch_bytes(bucket) / cell,
            side,
            name: spec.name.clone(),
        });
        self.keep(name, value, side)
    }

    fn keep(&mut self, name: CString, value: *mut OrtValue, side: Side) -> Result<(), String> {
        self.bind_value(&name, value, side)?;
        if side == Side::Input {
            self.inputs.push((name, value));
        }
        Ok(())
    }

    /// Binds the inputs again: what does not lie in the session's device is copied to it then, and
    /// not by a run.
    pub fn copy_to_device(&self) -> Result<(), String> {
        self.inputs
            .iter()
            .try_for_each(|(name, value)| self.bind_value(name, *value, Side::Input))
    }

    fn bind_value(&self, name: &CStr, value: *mut OrtValue, side: Side) -> Result<(), String> {
        // SAFETY: binding, name and value are alive for the call; the binding copies the name.
        check(unsafe {
            match side {
                Side::Input => (ort::api().BindInput)(self.raw, name.as_ptr(), value),
                Side::Output => (ort::api().BindOutput)(self.raw, name.as_ptr(), value),
            }
        })
    }

    pub fn bind_to_device(&mut self, memory: &MemoryInfo, name: &str) -> Result<(), String> {
        let name = CString::new(name).map_err(|e| e.to_string())?;
        // SAFETY: all three are alive for the call.
        check(unsafe { (ort::api().BindOutputToDevice)(self.raw, name.as_ptr(), memory.0) })
    }

    pub fn run(&self, session: &mut Session) -> Result<(), String> {
        // SAFETY: the binding was made for this session, its buffers are alive, and `&mut` keeps
        // every other call off the session.
        check(unsafe { (ort::api().RunWithBinding)(session.ptr_mut(), ptr::null(), self.raw) })
    }

    /// A run over the buffers, strings copied in and out.
    pub fn run_with(&self, session: &mut Session, buffers: &mut Buffers) -> Result<(), String> {
        let of = |side| self.strings.iter().filter(move |s| s.side == side);
        for strings in of(Side::Input) {
            strings.fill(buffers.inputs[strings.place].as_bytes())?;
        }
        self.run(session)?;
        for strings in of(Side::Output) {
            strings.take(buffers.outputs[strings.place].as_bytes_mut())?;
        }
        Ok(())
    }

    /// Shapes of the outputs after a run, in the order in which they were bound.
    pub fn output_shapes(&self) -> Result<Vec<Vec<i64>>, String> {
        let api = ort::api();
        let (mut allocator, mut values, mut count) = (ptr::null_mut(), ptr::null_mut(), 0);
        // SAFETY: valid places for results; the array and each value in it are released below.
        unsafe {
            check((api.GetAllocatorWithDefaultOptions)(&mut allocator))?;
            check((api.GetBoundOutputValues)(
                self.raw,
                allocator,
                &mut values,
                &mut count,
            ))?;
        }
        let mut shapes = Vec::with_capacity(count);
        for index in 0..count {
            // SAFETY: `values` holds `count` values; each is read, then released once.
            shapes.push(unsafe {
                let value = *values.add(index);
                let shape = tensor_shape(value);
                (api.ReleaseValue)(value);
                shape
            });
        }
        if !values.is_null() {
            // SAFETY: allocated by this allocator and freed once.
            check(unsafe { (api.AllocatorFree)(allocator, values.cast()) })?;
        }
        shapes.into_iter().collect()
    }
}

impl Strings {
    /// Copies the cells into the tensor.
    fn fill(&self, cells: &[u8]) -> Result<(), String> {
        let cells = cells.chunks_exact(self.cell).take(self.elements);
        for (index, cell) in cells.enumerate() {
            let text = strings::read(cell);
            let mut place = ptr::null_mut();
            // SAFETY: the value is a live tensor of `elements` strings; ONNX Runtime gives room for
            // `text.len()` bytes, which stays until the element is changed again.
            unsafe {
                check((ort::api().GetResizedStringTensorElementBuffer)(
                    self.value,
                    index,
                    text.len(),
                    &mut place,
                ))?;
                ptr::copy_nonoverlapping(text.as_ptr(), place.cast(), text.len());
            }
        }
        Ok(())
    }

    /// Copies the tensor into the cells.
    fn take(&self, cells: &mut [u8]) -> Result<(), String> {
        let mut length = 0;
        // SAFETY: the value is a live tensor of strings.
        check(unsafe { (ort::api().GetStringTensorDataLength)(self.value, &mut length) })?;
        let (mut text, mut offsets) = (vec![0u8; length], vec![0usize; self.elements]);
        // SAFETY: both have the lengths that are said.
        check(unsafe {
            (ort::api().GetStringTensorContent)(
                self.value,
                text.as_mut_ptr().cast(),
                length,
                offsets.as_mut_ptr(),
                offsets.len(),
            )
        })?;
        let ends = offsets.iter().skip(1).copied().chain([length]);
        let spans = offsets.iter().zip(ends);
        for ((start, end), cell) in spans.zip(cells.chunks_exact_mut(self.cell)) {
            let one = text.get(*start..end).unwrap_or_default();
            if !strings::write(one, cell) {
                return Err(format!(
                    "output '{}' holds a string of {} bytes, more than the contract's max_bytes",
                    self.name,
                    one.len()
                ));
            }
        }
        Ok(())
    }
}

/// # Safety
/// `value` must be a live tensor.
unsafe fn tensor_shape(value: *const OrtValue) -> Result<Vec<i64>, String> {
    let api = ort::api();
    let mut info = ptr::null_mut();
    // SAFETY: the caller vouches for `value`; `info` is released below.
    check(unsafe { (api.GetTensorTypeAndShape)(value, &mut info) })?;
    let mut rank = 0;
    // SAFETY: `info` is live; `shape` has room for `rank` dimensions.
    let shape = unsafe {
        check((api.GetDimensionsCount)(info, &mut rank)).and_then(|()| {
            let mut shape = vec![0i64; rank];
            check((api.GetDimensions)(info, shape.as_mut_ptr(), rank)).map(|()| shape)
        })
    };
    // SAFETY: made above and released once.
    unsafe { (api.ReleaseTensorTypeAndShapeInfo)(info) };
    shape
}

impl Drop for Binding {
    fn drop(&mut self) {
        // SAFETY: made by `new` and `bind`, each released once, the binding before its values.
        unsafe {
            (ort::api().ReleaseIoBinding)(self.raw);
            for value in &self.values {
                (ort::api().ReleaseValue)(*value);
            }
        }
    }
}
