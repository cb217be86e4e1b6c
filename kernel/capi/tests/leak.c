/* Forgets a handle: what the address sanitizer must find before it is believed. */

#include "lockstep.h"

int main(void) {
  LockstepModel *model;
  if (lockstep_model_tiny(1, &model, NULL) != LOCKSTEP_STATUS_OK) return 2;
  model = NULL;
  return model != NULL;
}
