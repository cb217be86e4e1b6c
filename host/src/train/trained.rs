//! What a training has made: its digests, and the folder that keeps it.

use kernel::model::Model;
use kernel::train::TrainOptions;
use kernel::transcript::{Identity, Sha256Digest, TrainingTranscript, hex};
use loader::DType;
use serde_json::{Value, json};
use session::adapter::{adapter_digest, export};
use session::tensors::{model_digest, trained};

use crate::open::Opened;
use crate::save::{SaveError, Target, provenance, write_adapter, write_model};

/// What a training began with and took.
#[derive(Clone)]
pub struct Course {
    pub base: Identity,
    pub data: Sha256Digest,
    pub options: TrainOptions,
    /// How many steps were made, and the digest of all of them.
    pub steps: (u64, Sha256Digest),
}

/// A model after its training.
pub struct Trained {
    model: Model,
    pub course: Course,
    /// The digest of the weights: as binary32 where they were trained, and the base's beside a trained adapter.
    pub weights: Sha256Digest,
    /// The digest of the trained adapter, where one was trained.
    pub adapter: Option<Sha256Digest>,
    pub transcript: Sha256Digest,
}

impl Trained {
    pub fn new(model: Model, course: Course) -> Trained {
        let Course { base, data, options, steps: (_, steps) } = course.clone();
        let adapter = adapter_digest(&model);
        let weights = if adapter.is_some() { base.weights } else { model_digest(&model) };
        let trained = adapter.unwrap_or(weights);
        let transcript = TrainingTranscript { base, data, options, steps, trained }.digest();
        Trained { model, course, weights, adapter, transcript }
    }

    /// The digest of what was trained: of all weights, or of the adapter, as binary32.
    pub fn learnt(&self) -> Sha256Digest {
        self.adapter.unwrap_or(self.weights)
    }

    /// Fills a folder with the adapter, or else with the model in `dtype`, whose weights' digest it returns.
    ///
    /// # Errors
    /// If the system refuses; nothing is left behind.
    pub fn save(&self, target: &Target, dtype: DType, opened: &Opened) -> Result<Option<Sha256Digest>, SaveError> {
        let provenance = self.provenance(dtype, opened);
        target.fill(|folder| match export(&self.model, &opened.name) {
            Some(files) => write_adapter(folder, &files, &provenance).map(|()| None),
            None => {
                let tensors = trained(&self.model).map(|(row, values)| (row, values.into()));
                write_model(folder, &opened.dir, tensors, dtype, &provenance).map(Some)
            }
        })
    }

    fn provenance(&self, dtype: DType, opened: &Opened) -> Value {
        let Course { base, data, steps: (steps, _), .. } = &self.course;
        let more = json!({
            "steps": steps,
            "data_sha256": hex(data),
            "trained_weights_sha256": hex(&self.weights),
            "adapter_sha256": self.adapter.as_ref().map(hex),
            "transcript_sha256": hex(&self.transcript),
            "dtype": dtype.name(),
        });
        provenance("trained", opened, (&base.weights, base.adapter.as_ref()), more)
    }
}
