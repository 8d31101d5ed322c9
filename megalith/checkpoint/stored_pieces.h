#pragma once
// defines: StoredPieces

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "megalith/checkpoint/tensor_piece.h"
#include "megalith/io/safetensors.h"

namespace megalith {

/// The tensors of a checkpoint, put together from the files that its ranks wrote, for any other layout to
/// read from.
class StoredPieces {
 public:
  /// `pieces`: what of each tensor the file holds, by name; a tensor that is not named there is whole.
  void add(std::shared_ptr<const SafetensorsFile> file, const std::map<std::string, TensorPiece>& pieces);

  /// After the last add(): every element of every tensor is there once, and the pieces agree on shape and
  /// dtype. Throws Error naming the tensor, what is missing or held twice, and the files.
  void check_complete() const;

  std::vector<std::string> names() const;
  bool contains(const std::string& name) const { return tensors_.contains(name); }
  /// Throws Error naming the nearest name there is.
  DType dtype(const std::string& name) const { return at(name).dtype; }

  /// Fills `to` (contiguous) with the elements of `piece`, converted to its dtype. Throws Error naming the
  /// tensor and both shapes when the stored whole is another.
  void read(const std::string& name, const TensorPiece& piece, const Tensor& to, Exec& exec) const;

 private:
  struct Source {
    std::shared_ptr<const SafetensorsFile> file;
    std::span<const std::byte> bytes;
    std::vector<Run> runs;
  };
  struct Stored {
    Shape whole;
    DType dtype = DType::kF32;
    std::vector<Source> sources;
  };
  const Stored& at(const std::string& name) const;
  std::string where(const Stored& stored) const;

  std::map<std::string, Stored> tensors_;
};

}  // namespace megalith
