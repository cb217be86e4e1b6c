/* Lockstep as a C library: a Llama-family model with the same bits on every machine. docs/embedding.md explains it.
 *
 * Handles. lockstep_*_new, lockstep_model_open and the like make a handle, and lockstep_*_free ends it (a null pointer is fine). A
 * handle keeps what it needs: a model may be freed before the generations and trainers that began with it.
 *
 * Errors. A function that can fail returns a LockstepStatus and takes, last, a place for the message or a null pointer. Nothing
 * is written to the other outputs then, but for a new handle, which is null. No null pointer, length or number that is given
 * crashes the caller; a pointer to something else than is asked for does, as ever in C.
 *
 * Threads. There is no global state. A model may be used by several threads at once, any other handle by one at a time.
 * A function computes on the thread that calls it, which must keep subnormal numbers and round to the nearest even value: code
 * that was linked with -ffast-math often does not, and gets LOCKSTEP_STATUS_ENVIRONMENT.
 */

#ifndef LOCKSTEP_H
#define LOCKSTEP_H

/* Written by cbindgen from the sources beside this folder: change those. */

#include <stddef.h>
#include <stdint.h>

// The bytes of a message, with the zero byte that ends it.
#define LOCKSTEP_MESSAGE_SIZE 1024

// How a function ended.
typedef enum LockstepStatus {
  // It did what it was asked for.
  LOCKSTEP_STATUS_OK = 0,
  // The generation had ended before: there is no further token.
  LOCKSTEP_STATUS_END = 1,
  // A pointer is null, or a length, number or token is out of its range.
  LOCKSTEP_STATUS_ARGUMENT = 2,
  // The folder or the bytes hold no model that can be used.
  LOCKSTEP_STATUS_MODEL = 3,
  // What was computed is not finite: the weights are damaged, or a learning rate is too high.
  LOCKSTEP_STATUS_COMPUTE = 4,
  // This thread's arithmetic is not that of the contract: it flushes subnormal numbers, or rounds otherwise.
  LOCKSTEP_STATUS_ENVIRONMENT = 5,
  // The self-test found other bits than those of the contract.
  LOCKSTEP_STATUS_MISMATCH = 6,
  // A mistake in the library; the handle can only be freed.
  LOCKSTEP_STATUS_INTERNAL = 7,
} LockstepStatus;

// Why a token is the last one.
typedef enum LockstepFinish {
  // It is not.
  LOCKSTEP_FINISH_NONE = 0,
  // It ends a text.
  LOCKSTEP_FINISH_STOP = 1,
  // It is as many as were asked for.
  LOCKSTEP_FINISH_LENGTH = 2,
} LockstepFinish;

// How gradients change weights.
typedef enum LockstepOptimizer {
  // Gradient descent, with `momentum`.
  LOCKSTEP_OPTIMIZER_SGD = 0,
  // Adam with decoupled weight decay.
  LOCKSTEP_OPTIMIZER_ADAMW = 1,
} LockstepOptimizer;

// A generation under way.
typedef struct LockstepGeneration LockstepGeneration;

// A model: its shape and weights, which nothing changes.
typedef struct LockstepModel LockstepModel;

// A model in training: copies of the weights in binary32, and what the optimiser remembers.
typedef struct LockstepTrainer LockstepTrainer;

// A message for people.
typedef struct LockstepError {
  // UTF-8, ended by a zero byte; empty after a success.
  char message[LOCKSTEP_MESSAGE_SIZE];
} LockstepError;

// The numbers of a model's config.json that its user needs.
typedef struct LockstepShape {
  // Tokens of the vocabulary: ids are below.
  size_t vocab;
  // The most tokens of a text, prompt and output together.
  size_t context;
  // Transformer layers.
  size_t layers;
  // Width of the residual stream.
  size_t dim;
} LockstepShape;

// A SHA-256 digest.
typedef struct LockstepDigest {
  // Its bytes, the first one first.
  uint8_t bytes[32];
} LockstepDigest;

// How a token is chosen.
typedef struct LockstepSampling {
  // What logits are divided by; 0 takes the most likely token.
  double temperature;
  // The part of the probability that the most likely tokens which remain must reach together; 1 for all.
  double top_p;
  // The part of the most likely token's probability that a token must reach to remain; 0 for all.
  double min_p;
  // What the logits of tokens that occur already are divided by, or multiplied by where they are negative; 1 for none.
  double repetition_penalty;
  // What is taken from the logits of generated tokens for each time that they occur in the output.
  double frequency_penalty;
  // What is taken from the logits of generated tokens once.
  double presence_penalty;
  // The key of the random generator.
  uint64_t seed;
  // How many of the most likely tokens remain; 0 for all.
  uint32_t top_k;
  // Not 0: a token that ends a text does not end the generation.
  uint32_t ignore_eos;
} LockstepSampling;

// A generated token.
typedef struct LockstepStep {
  // Its number, from 1.
  size_t step;
  // The token.
  uint32_t token_id;
  // Why it is the last one, if it is.
  enum LockstepFinish finish;
  // The digest of the logits that it was chosen from.
  struct LockstepDigest logits_sha256;
} LockstepStep;

// How to train.
typedef struct LockstepTraining {
  // The highest learning rate.
  double learning_rate;
  // Gradient descent: the part of the last step that goes on; 0 for none.
  double momentum;
  // AdamW: the decay of the first moments.
  double beta1;
  // AdamW: the decay of the second moments.
  double beta2;
  // AdamW: what keeps the divisor from zero.
  double eps;
  // AdamW: the part of a weight that a step of rate 1 takes away.
  double weight_decay;
  // The largest norm of all gradients together, longer ones are scaled down to it; 0 for no limit.
  double clip_norm;
  // Steps over which the learning rate rises, in equal parts.
  uint64_t warmup;
  // The step at which the learning rate has fallen to zero, along a cosine; 0: it stays.
  uint64_t cosine_steps;
  // A LockstepOptimizer.
  uint32_t optimizer;
  // Not 0: computes activations again instead of keeping them, the same bits in less memory and more time.
  uint32_t recompute;
} LockstepTraining;

// What a step did.
typedef struct LockstepReport {
  // Its number, from 1.
  uint64_t step;
  // The tokens of the batch.
  size_t tokens;
  // The mean cross-entropy of the batch before the step, in nats.
  float loss;
  // The norm of all gradients together, before clipping.
  float grad_norm;
  // The learning rate of the step.
  float learning_rate;
  // The digest of all steps up to this one: of token ids, losses, norms and rates.
  struct LockstepDigest digest;
} LockstepReport;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The name and version of the numeric contract that this library computes by.
const char *lockstep_profile(void);

// Checks that this machine and this build compute the bits of the contract: some tens of milliseconds.
enum LockstepStatus lockstep_self_test(struct LockstepError *error);

// Opens a model folder as Hugging Face lays it out: config.json, and model.safetensors or shards with an index.
//
// The weights are mapped into memory, not read: nobody may change the files while the model is used. `folder` is UTF-8, or on
// Unix whatever the system takes as a path.
//
// # Safety
// `folder` is null or a text that ends with a zero byte.
enum LockstepStatus lockstep_model_open(const char *folder,
                                        struct LockstepModel **model,
                                        struct LockstepError *error);

// A model from the bytes of a config.json and of a safetensors file, which are copied.
//
// # Safety
// `config` has `config_len` bytes, and `weights` has `weights_len`.
enum LockstepStatus lockstep_model_from_bytes(const uint8_t *config,
                                              size_t config_len,
                                              const uint8_t *weights,
                                              size_t weights_len,
                                              struct LockstepModel **model,
                                              struct LockstepError *error);

// One of the two tiny models of the contract, 1 or 2, whose results docs/vectors/tiny.json has.
enum LockstepStatus lockstep_model_tiny(uint32_t number, struct LockstepModel **model, struct LockstepError *error);

// The model's shape.
enum LockstepStatus lockstep_model_shape(const struct LockstepModel *model,
                                         struct LockstepShape *shape,
                                         struct LockstepError *error);

// The digest by which receipts and transcripts know the weights, of the stored numbers of all tensors. Reads all weights.
enum LockstepStatus lockstep_model_weights_digest(const struct LockstepModel *model,
                                                  struct LockstepDigest *digest,
                                                  struct LockstepError *error);

// The logits of the token after `ids`: as many as the vocabulary has tokens, which is `logits_len`.
//
// # Safety
// `ids` has `ids_len` values, and `logits` has `logits_len` places.
enum LockstepStatus lockstep_model_logits(const struct LockstepModel *model,
                                          const uint32_t *ids,
                                          size_t ids_len,
                                          float *logits,
                                          size_t logits_len,
                                          struct LockstepError *error);

// Ends a handle.
void lockstep_model_free(struct LockstepModel *model);

// The most likely token, until one ends the text: what a null pointer stands for, and the values to begin with.
struct LockstepSampling lockstep_sampling_greedy(void);

// Begins a generation of at most `max_tokens` tokens after `prompt`; nothing is computed yet. `sampling` may be null.
//
// # Safety
// `prompt` has `prompt_len` values.
enum LockstepStatus lockstep_generation_new(const struct LockstepModel *model,
                                            const uint32_t *prompt,
                                            size_t prompt_len,
                                            size_t max_tokens,
                                            const struct LockstepSampling *sampling,
                                            struct LockstepGeneration **generation,
                                            struct LockstepError *error);

// Computes the next token. After the last one it returns LOCKSTEP_STATUS_END and writes nothing.
enum LockstepStatus lockstep_generation_next(struct LockstepGeneration *generation,
                                             struct LockstepStep *step,
                                             struct LockstepError *error);

// The digest of all that was generated so far and of what it was generated with. The digests of the weights
// (lockstep_model_weights_digest) and of the bytes of tokenizer.json are the caller's to give.
enum LockstepStatus lockstep_generation_transcript(const struct LockstepGeneration *generation,
                                                   const struct LockstepDigest *weights,
                                                   const struct LockstepDigest *tokenizer,
                                                   struct LockstepDigest *digest,
                                                   struct LockstepError *error);

// Ends a handle.
void lockstep_generation_free(struct LockstepGeneration *generation);

// Gradient descent with a learning rate of 0.001 that stays, and AdamW's customary numbers should it be chosen.
struct LockstepTraining lockstep_training_defaults(void);

// Begins a training with the weights of `model`, which stays as it is. `training` may be null: the defaults.
enum LockstepStatus lockstep_trainer_new(const struct LockstepModel *model,
                                         const struct LockstepTraining *training,
                                         struct LockstepTrainer **trainer,
                                         struct LockstepError *error);

// Learns from one batch: `texts` texts, whose token ids follow each other in `ids`; `lengths` says how many are of each.
//
// After LOCKSTEP_STATUS_ARGUMENT nothing has changed; after LOCKSTEP_STATUS_COMPUTE the message says whether the training can go on.
//
// # Safety
// `lengths` has `texts` values, and `ids` has as many as these say together.
enum LockstepStatus lockstep_trainer_step(struct LockstepTrainer *trainer,
                                          const uint32_t *ids,
                                          const size_t *lengths,
                                          size_t texts,
                                          struct LockstepReport *report,
                                          struct LockstepError *error);

// A copy of the model as it is now, for generations and for its digest; the training can go on. Refused where a step failed
// in the midst of its changes.
enum LockstepStatus lockstep_trainer_model(const struct LockstepTrainer *trainer,
                                           struct LockstepModel **model,
                                           struct LockstepError *error);

// Ends a handle.
void lockstep_trainer_free(struct LockstepTrainer *trainer);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LOCKSTEP_H */
