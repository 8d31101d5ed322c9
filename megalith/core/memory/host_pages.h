#pragma once
// defines: make_host_pages, host_memory_bytes

#include <memory>

#include "megalith/core/memory/page_source.h"

namespace megalith {

/// Memory of the process by pages, huge ones where the kernel has them. A page counts when it is touched
/// first, and is given back to the kernel at once.
std::unique_ptr<PageSource> make_host_pages();

/// What the machine has.
int64_t host_memory_bytes();

}  // namespace megalith
