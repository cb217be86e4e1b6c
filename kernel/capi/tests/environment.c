/* Flushes subnormal numbers to zero, as a program that was linked with -ffast-math does, and asks for a computation: it must be
 * refused, since its bits would be others. */

#include <stdio.h>

#include "lockstep.h"

#if defined(__x86_64__)
#include <xmmintrin.h>
static void flush(int on) { _MM_SET_FLUSH_ZERO_MODE(on ? _MM_FLUSH_ZERO_ON : _MM_FLUSH_ZERO_OFF); }
#elif defined(__aarch64__)
static void flush(int on) {
  uint64_t control = on ? UINT64_C(1) << 24 : 0;
  __asm__ volatile("msr fpcr, %0" ::"r"(control));
}
#else
#error "how does this machine flush subnormal numbers to zero?"
#endif

int main(void) {
  static LockstepError error;
  const uint32_t ids[] = {1, 2, 3};
  const size_t length = 3;
  float logits[61];
  LockstepModel *model;
  LockstepGeneration *generation;
  LockstepTrainer *trainer;
  LockstepStep step;
  LockstepReport report;
  if (lockstep_model_tiny(1, &model, &error) != LOCKSTEP_STATUS_OK ||
      lockstep_generation_new(model, ids, 3, 2, NULL, &generation, &error) != LOCKSTEP_STATUS_OK ||
      lockstep_trainer_new(model, NULL, &trainer, &error) != LOCKSTEP_STATUS_OK) {
    return 2;
  }
  flush(1);
  const LockstepStatus found[] = {
      lockstep_self_test(&error),
      lockstep_model_logits(model, ids, 3, logits, 61, &error),
      lockstep_generation_next(generation, &step, &error),
      lockstep_trainer_step(trainer, ids, &length, 1, &report, &error),
  };
  flush(0);
  int failures = 0;
  for (size_t i = 0; i < sizeof found / sizeof found[0]; i++) failures += found[i] != LOCKSTEP_STATUS_ENVIRONMENT;
  failures += lockstep_generation_next(generation, &step, &error) != LOCKSTEP_STATUS_OK;
  failures += lockstep_trainer_step(trainer, ids, &length, 1, &report, &error) != LOCKSTEP_STATUS_OK;
  lockstep_trainer_free(trainer);
  lockstep_generation_free(generation);
  lockstep_model_free(model);
  printf("%d failures\n", failures);
  return failures == 0 ? 0 : 1;
}
