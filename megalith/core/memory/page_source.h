#pragma once
// defines: PageSource

#include <cstddef>
#include <cstdint>
#include <span>

namespace megalith {

/// Addresses, and memory behind some of them, a page at a time: what a GPU's driver offers, or a test.
class PageSource {
 public:
  PageSource() = default;
  virtual ~PageSource() = default;
  PageSource(const PageSource&) = delete;
  PageSource& operator=(const PageSource&) = delete;

  virtual int64_t page_bytes() const = 0;
  /// Addresses without memory, which nobody else has while this lives; a multiple of page_bytes().
  virtual std::byte* reserve(int64_t bytes) = 0;
  /// Memory behind some pages of the reservation, from `at` on; false, and nothing changed, where the device
  /// has not as much.
  virtual bool map(std::byte* at, int64_t num_pages) = 0;
  /// Takes it away again, when all work that was asked of the device is done.
  virtual void unmap(std::span<std::byte* const> pages) = 0;
  /// Another GPU of the process reads and writes what is mapped now and later.
  virtual void share_with(int device_index) = 0;
};

}  // namespace megalith
