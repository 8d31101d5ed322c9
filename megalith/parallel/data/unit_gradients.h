#pragma once
// defines: UnitGradients

#include <array>
#include <deque>
#include <vector>

#include "megalith/parallel/data/data_sharing.h"

namespace megalith {

/// Sums the gradients of units over the ranks that hold the same parameters, beside compute. Where gradients
/// are sharded, a unit's whole gradient has memory only from open() to reduce(), and what arrives is added to
/// the share.
class UnitGradients {
 public:
  /// Groups of the dense and of the expert parameters.
  UnitGradients(ParameterStore& store, const Mesh& mesh, std::array<ShareGroups, 2>& groups);

  /// All gradients are fresh.
  void begin_step();
  /// Before gradients of the unit are written.
  void open(const ParameterUnit& unit, Exec& exec);
  /// Which of a step's sums of a unit: earlier ones are needed only where whole gradients have no place to
  /// stay, and cost nothing elsewhere.
  enum class Sum { kEarlier, kLast };
  /// All writes so far are summed; what comes later needs open() again.
  void reduce(const ParameterUnit& unit, Sum sum, Exec& exec);
  /// After the last sum of every unit: the kernels that are called next find the sums in the owned parts.
  void finish(Exec& exec);

  /// True where whole gradients have no place to stay.
  bool are_sharded(bool is_expert) const;

 private:
  // A sum on its way from the group's ranks to the share.
  struct Arrival {
    bool is_expert = false;
    Sum sum = Sum::kLast;
    Tensor sent;     // held until it has arrived
    Tensor arrived;  // the share itself, or what is to be put there
    Tensor share;
    bool is_added = false;  // to what the share holds
  };

  ShareGroups& groups(bool is_expert) const { return (*groups_)[is_expert ? 1 : 0]; }
  size_t place(const ParameterUnit& unit, bool is_expert) const {
    return 2 * static_cast<size_t>(unit.index) + (is_expert ? 1 : 0);
  }
  DType wire_dtype() const;
  Tensor to_send(const Tensor& gradients, Exec& exec) const;
  void sum_terms_of_layer(const ParameterUnit& unit, bool is_expert);
  void sum_terms_of_shares();
  void send(const ParameterUnit& unit, bool is_expert, Sum sum, Exec& exec);
  void take_arrivals(Exec& exec);
  void sum_replicas(bool is_expert, const Tensor& share, Exec& exec);
  void add_to_bucket(const ParameterUnit& unit, bool is_expert, Exec& exec);
  void sum_bucket(bool is_expert, Exec& exec);

  ParameterStore* store_;
  const Mesh* mesh_;
  std::array<ShareGroups, 2>* groups_;
  std::array<FlatRange, 2> buckets_;  // of neighbouring units that are summed together; empty: none wait
  std::vector<Tensor> whole_;         // by place: open buffers
  std::vector<bool> has_sum_;         // by place: the share holds something of this step
  std::deque<Arrival> arrivals_;      // from the instance
  std::vector<Arrival> replicated_;   // from the replicas
};

}  // namespace megalith
