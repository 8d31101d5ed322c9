#pragma once
// defines: evaluate

#include <functional>
#include <optional>

#include "megalith/data/batch_loader.h"
#include "megalith/models/language_model.h"
#include "megalith/parallel/mesh.h"

namespace megalith {

/// Mean loss per token over the loaders' batches, `num_batches` of each data-parallel rank at most, without
/// dropout. Collective; the same number on every rank. `stops` is asked every few batches, by all ranks at
/// the same ones, and must tell all of them the same; where it says yes there is no loss.
std::optional<double> evaluate(LanguageModel& model, const Mesh& mesh, BatchLoader& loader,
                               int64_t num_batches, const std::function<bool()>& stops, Exec& exec);

}  // namespace megalith
