#pragma once
// defines: evaluate

#include "megalith/data/batch_loader.h"
#include "megalith/models/language_model.h"

namespace megalith {

/// Mean loss per token over the loader's batches, `num_batches` at most, without dropout.
double evaluate(LanguageModel& model, BatchLoader& loader, int64_t num_batches, Exec& exec);

}  // namespace megalith
