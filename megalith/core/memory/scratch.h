#pragma once
// defines: Scratch, ScratchFrame

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "megalith/core/memory/pool.h"

namespace megalith {

/// Working memory inside one op: last taken, first returned. It grows to what the hungriest op needs and
/// stays.
class Scratch {
 public:
  explicit Scratch(Pool& pool) : pool_(&pool) {}
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  int64_t used_bytes() const { return used_bytes_; }
  int64_t high_water_bytes() const { return high_water_bytes_; }
  /// What was on the stack when it was highest, "name bytes" each.
  const std::vector<std::string>& high_water_names() const { return high_water_names_; }

 private:
  friend class ScratchFrame;
  struct Chunk {
    Block block;
    int64_t used = 0;
  };
  struct Item {
    const char* name;
    int64_t bytes;
  };
  std::byte* take(int64_t bytes, const char* name);

  Pool* pool_;
  std::vector<Chunk> chunks_;
  size_t current_ = 0;
  std::vector<Item> items_;
  int64_t used_bytes_ = 0;
  int64_t high_water_bytes_ = 0;
  std::vector<std::string> high_water_names_;
};

/// Everything taken through a frame goes back when the frame ends. Frames nest.
///
///     ScratchFrame frame(exec.scratch());
///     float* row_sums = frame.take<float>(rows, "row sums");
class ScratchFrame {
 public:
  explicit ScratchFrame(Scratch& scratch);
  ~ScratchFrame();
  ScratchFrame(const ScratchFrame&) = delete;
  ScratchFrame& operator=(const ScratchFrame&) = delete;

  template <class T>
  T* take(int64_t count, const char* name) {
    return reinterpret_cast<T*>(scratch_->take(count * static_cast<int64_t>(sizeof(T)), name));
  }

 private:
  Scratch* scratch_;
  size_t current_;
  int64_t used_in_chunk_;
  size_t num_items_;
  int64_t used_bytes_;
};

}  // namespace megalith
