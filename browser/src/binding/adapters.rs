//! Adapters of several clients, as JavaScript gives them.

use js_sys::{Array, Uint8Array};
use kernel::model::Model;
use wasm_bindgen::prelude::*;

use super::{Engine, object};

/// Adapters beside the loaded model, none of which is in use.
#[wasm_bindgen]
#[derive(Default)]
pub struct Adapters(pub(super) Vec<Model>);

#[wasm_bindgen]
impl Adapters {
    /// None yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Adapters {
        Adapters::default()
    }

    /// Adds the adapter of these two files.
    pub fn add(&mut self, engine: &Engine, config: &[u8], weights: &Uint8Array) -> Result<(), JsError> {
        self.0.push(engine.0.adapted(config, weights.length() as usize, |room| weights.copy_to(room))?);
        Ok(())
    }
}

#[wasm_bindgen]
impl Engine {
    /// `{files: {config, weights}, adapterSha256, receipt}` of the aggregate; `weights` and `receipts` (the bytes of each) are one
    /// for each adapter, or none.
    pub fn aggregate(&self, adapters: Adapters, weights: Vec<u32>, receipts: Array) -> Result<JsValue, JsError> {
        let receipts = receipts.iter().map(|bytes| Uint8Array::new(&bytes).to_vec()).collect();
        let made = self.0.aggregate(adapters.0, &weights, receipts)?;
        let files = object([
            ("config", Uint8Array::from(made.files.adapter_config.as_slice()).into()),
            ("weights", Uint8Array::from(made.files.adapter_model.as_slice()).into()),
        ]);
        Ok(object([
            ("files", files),
            ("adapterSha256", JsValue::from(made.digest)),
            ("receipt", JsValue::from(made.receipt)),
        ]))
    }
}
