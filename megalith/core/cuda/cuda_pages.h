#pragma once
// defines: has_cuda_pages, make_cuda_pages

#include <memory>

#include "megalith/core/memory/page_source.h"

namespace megalith {

/// Whether the device's driver maps memory to addresses of one's choice.
bool has_cuda_pages(int device_index);

/// Memory of a GPU by the driver's virtual memory management. `page_bytes` is a multiple of its granularity
/// (2 MiB on all that have it). A page that is returned goes back at once.
std::unique_ptr<PageSource> make_cuda_pages(int device_index, int64_t page_bytes);

}  // namespace megalith
