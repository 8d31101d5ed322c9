#pragma once
// defines: owned_ranges, flat_divisors, finish_gradients, gather_weights

#include <vector>

#include "megalith/autograd/parameter.h"
#include "megalith/parallel/mesh.h"

namespace megalith {

/// The parts of the flat buffers whose optimizer state this rank keeps: all of them, or under ZeRO-1
/// (Rajbhandari et al. 2020) an equal share of the dense and one of the expert parameters.
std::vector<FlatRange> owned_ranges(const ParameterStore& store, const Mesh& mesh);

/// What materialize() needs to make the shares equal.
ParameterStore::Divisors flat_divisors(const Mesh& mesh);

/// After the last backward of a step: every gradient becomes the sum over the ranks that saw other data or
/// hold another term: tensor-parallel terms first, then tied embeddings of the first and the last stage, then
/// the data-parallel sum, which under ZeRO-1 reaches the owned ranges alone. Means are in the loss weights,
/// not here.
void finish_gradients(ParameterStore& store, const Mesh& mesh, Exec& exec);

/// After the optimizer's step: under ZeRO-1 every rank takes the weights that its peers updated.
void gather_weights(const ParameterStore& store, const Mesh& mesh);

}  // namespace megalith
