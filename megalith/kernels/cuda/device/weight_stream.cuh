#pragma once
// defines: kPieceBytes, WeightRows, WeightStream

#include "megalith/kernels/cuda/device/bulk_copy.cuh"
#include "megalith/kernels/cuda/device/shared_barrier.cuh"

namespace megalith::cuda {

/// What one copy brings, at most.
constexpr int kPieceBytes = 4096;

/// A weight as a warp reads it: a unit is row u of each half, `rows` rows apart.
struct WeightRows {
  const char* data;
  int rows, row_bytes, halves;
};

/// The weights of many products in a row, as one warp will multiply by them: units first, first + step, ...
/// of each product, row by row, piece by piece. The copy engine brings them into the warp's own places in
/// shared memory, as far ahead as there is room, whatever the products wait for. `Products` gives the
/// WeightRows of product p, p < count().
template <class Products>
class WeightStream {
 public:
  /// `barriers` and `places` are this warp's: num_places of 8 and of kPieceBytes bytes.
  __device__ WeightStream(const Products& products, char* places, uint64_t* barriers, int num_places,
                          int first, int step)
      : products_(products),
        places_(places),
        barriers_(shared_address(barriers)),
        num_places_(num_places),
        first_(first),
        step_(step) {
    if (is_leader()) {
      for (int i = 0; i < num_places; ++i) init_barrier(barriers_ + 8 * i, 1);
      publish_barriers();
    }
    __syncwarp();
    product_ = -1;
    enter_next_product();
    for (int i = 0; i < num_places; ++i) ask(i);
  }

  /// The next piece, when it has come.
  __device__ const uint4* get() {
    wait_for(barriers_ + 8 * place_, parity_);
    return reinterpret_cast<const uint4*>(places_ + place_ * kPieceBytes);
  }
  /// All lanes have read it: its place is for another.
  __device__ void release() {
    __syncwarp();
    ask(place_);
    if (++place_ < num_places_) return;
    place_ = 0;
    parity_ ^= 1;
  }

  /// A warp's units of a product.
  __device__ int first() const { return first_; }
  __device__ int step() const { return step_; }

 private:
  __device__ static bool is_leader() { return threadIdx.x % 32 == 0; }

  __device__ void ask(int place) {
    if (product_ == products_.count()) return;
    const uint32_t bytes = static_cast<uint32_t>(min(kPieceBytes, weight_.row_bytes - done_));
    if (is_leader()) {
      const int64_t row = unit_ + int64_t{half_} * weight_.rows;
      const uint32_t barrier = barriers_ + 8 * place;
      arrive_expecting(barrier, bytes);
      load_bulk(shared_address(places_ + place * kPieceBytes), weight_.data + row * weight_.row_bytes + done_,
                bytes, barrier);
    }
    step_on();
  }
  __device__ void step_on() {
    done_ += kPieceBytes;
    if (done_ < weight_.row_bytes) return;
    done_ = 0;
    if (++half_ < weight_.halves) return;
    half_ = 0;
    unit_ += step_;
    if (unit_ >= weight_.rows) enter_next_product();
  }
  __device__ void enter_next_product() {
    unit_ = first_;
    while (++product_ < products_.count()) {
      weight_ = products_.at(product_);
      if (unit_ < weight_.rows) return;
    }
  }

  const Products& products_;
  char* places_;
  uint32_t barriers_;
  int num_places_, first_, step_;
  // What is asked for next.
  WeightRows weight_{};
  int product_ = 0, unit_ = 0, half_ = 0, done_ = 0;
  // What is read next.
  int place_ = 0;
  uint32_t parity_ = 0;
};

}  // namespace megalith::cuda
