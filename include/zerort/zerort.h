/* zerort: an MPI-native distributed training runtime. This header includes all others but mpi.h's. */
#ifndef ZERORT_ZERORT_H
#define ZERORT_ZERORT_H

#include <zerort/checkpoint.h>
#include <zerort/config.h>
#include <zerort/data.h>
#include <zerort/engine.h>
#include <zerort/log.h>
#include <zerort/lora.h>
#include <zerort/model.h>
#include <zerort/models.h>
#include <zerort/monitor.h>
#include <zerort/ops.h>
#include <zerort/preflight.h>
#include <zerort/status.h>
#include <zerort/tensor.h>
#include <zerort/text_data.h>
#include <zerort/tokenizer.h>
#include <zerort/version.h>

#endif
