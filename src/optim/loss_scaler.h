/* Dynamic loss scaling: DeepSpeed's DynamicLossScaler (after Micikevicius et al. 2018) as a pure function of the state. It
 * is the reference of the device's step_decide, and works on the same structs. */
#ifndef ZRT_OPTIM_LOSS_SCALER_H
#define ZRT_OPTIM_LOSS_SCALER_H

#include <stdbool.h>

#include "device/kernels.h"

/* The scaler's fields of the state before the first step. */
void zrt__loss_scaler_init(const zrt__step_rules *rules, double initial_scale, zrt__step_state *state);

/* After a step: the next loss scale. An overflow halves it once `hysteresis` of them came (consecutive_hysteresis: since the last
 * clean step; otherwise since the last growth); scale_window clean steps double it, in the window that follows an overflow one step later, as
 * DeepSpeed counts. Without dynamic_loss_scale the scale stays. scale_at_minimum is set, and stays so, once an overflow
 * found the scale at its minimum. */
void zrt__loss_scaler_update(const zrt__step_rules *rules, bool overflow, zrt__step_state *state);

#endif
