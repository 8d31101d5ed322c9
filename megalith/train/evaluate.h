#pragma once
// defines: evaluate

#include "megalith/data/batch_loader.h"
#include "megalith/models/language_model.h"
#include "megalith/parallel/mesh.h"

namespace megalith {

/// Mean loss per token over the loaders' batches, `num_batches` of each data-parallel rank at most, without
/// dropout. Collective; the same number on every rank.
double evaluate(LanguageModel& model, const Mesh& mesh, BatchLoader& loader, int64_t num_batches, Exec& exec);

}  // namespace megalith
