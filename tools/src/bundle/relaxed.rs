//! A module of the page has no relaxed-SIMD instruction: their bits differ between machines (N2).

use wasmparser::{BinaryReaderError, Validator, WasmFeatures};

/// Reads a whole module, every function of it, as WebAssembly without the relaxed-SIMD proposal.
///
/// # Errors
/// If an instruction of the proposal is there, or the bytes are no module; the error has the offset.
pub fn check(module: &[u8]) -> Result<(), BinaryReaderError> {
    let features = WasmFeatures::all().difference(WasmFeatures::RELAXED_SIMD);
    Validator::new_with_features(features).validate_all(module).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with one function of three vectors, that loads them and runs an instruction of the SIMD page.
    fn module(instruction: &[u8]) -> Vec<u8> {
        let vector = 0x7b;
        let kind = [&[1, 0x60, 3, vector, vector, vector, 1, vector][..]].concat();
        let body = [&[0, 0x20, 0, 0x20, 1, 0x20, 2, 0xfd][..], instruction, &[0x0b]].concat();
        let section = |id: u8, content: &[u8]| [&[id, content.len() as u8][..], content].concat();
        let code = [&[1, body.len() as u8][..], &body].concat();
        [b"\0asm\x01\0\0\0".to_vec(), section(1, &kind), section(3, &[1, 0]), section(10, &code)].concat()
    }

    #[test]
    fn a_relaxed_instruction_is_found_and_others_are_not() {
        // `v128.bitselect` takes and gives what `f32x4.relaxed_madd` does.
        assert!(check(&module(&[0x52])).is_ok());
        let relaxed = module(&[0x85, 0x02]);
        let error = check(&relaxed).unwrap_err();
        assert!(error.message().contains("relaxed SIMD"), "{error}");
        // It is the instruction that is refused, not the module.
        assert!(Validator::new_with_features(WasmFeatures::all()).validate_all(&relaxed).is_ok());
    }

    #[test]
    fn what_is_no_module_is_refused() {
        assert!(check(b"").is_err() && check(b"\0asm\x01\0\0").is_err());
    }
}
