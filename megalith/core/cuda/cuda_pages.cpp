#include "megalith/core/cuda/cuda_pages.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <cuda.h>

#include "megalith/base/error.h"
#include "megalith/core/cuda/check.h"

namespace megalith {
namespace {

// The driver's calls, found through the runtime: a program is linked without the driver, and starts where
// there is none.
template <class Function>
Function driver_call(const char* name) {
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found{};
  MG_CUDA_CHECK(cudaGetDriverEntryPointByVersion(name, &entry, 12000, cudaEnableDefault, &found));
  MG_CHECK(entry != nullptr && found == cudaDriverEntryPointSuccess, "the CUDA driver has no {}", name);
  return reinterpret_cast<Function>(entry);
}
#define MG_DRIVER_CALL(name) driver_call<decltype(&name)>(#name)

struct Driver {
  decltype(&cuGetErrorString) error_string = MG_DRIVER_CALL(cuGetErrorString);
  decltype(&cuDeviceGetAttribute) attribute = MG_DRIVER_CALL(cuDeviceGetAttribute);
  decltype(&cuMemGetAllocationGranularity) granularity = MG_DRIVER_CALL(cuMemGetAllocationGranularity);
  decltype(&cuMemAddressReserve) reserve = MG_DRIVER_CALL(cuMemAddressReserve);
  decltype(&cuMemAddressFree) free_addresses = MG_DRIVER_CALL(cuMemAddressFree);
  decltype(&cuMemCreate) create = MG_DRIVER_CALL(cuMemCreate);
  decltype(&cuMemRelease) release = MG_DRIVER_CALL(cuMemRelease);
  decltype(&cuMemMap) map = MG_DRIVER_CALL(cuMemMap);
  decltype(&cuMemUnmap) unmap = MG_DRIVER_CALL(cuMemUnmap);
  decltype(&cuMemSetAccess) set_access = MG_DRIVER_CALL(cuMemSetAccess);

  void check(CUresult result, const char* what, int device_index) const {
    if (result == CUDA_SUCCESS) return;
    const char* text = nullptr;
    error_string(result, &text);
    fail("cuda:{}: {} failed: {}", device_index, what, text != nullptr ? text : "an unknown error");
  }
};

CUdeviceptr address(const std::byte* data) {
  return reinterpret_cast<CUdeviceptr>(data);
}

CUmemAccessDesc access_of(int device_index) {
  return {.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device_index},
          .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
}

// Mapping is allowed while this thread captures a graph, too: what it gets stays mapped.
class WhileCapturing {
 public:
  WhileCapturing() { MG_CUDA_CHECK(cudaThreadExchangeStreamCaptureMode(&mode_)); }
  ~WhileCapturing() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  WhileCapturing(const WhileCapturing&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

class CudaPages final : public PageSource {
 public:
  CudaPages(int device_index, int64_t page_bytes)
      : device_index_(device_index), page_bytes_(page_bytes), readers_{access_of(device_index)} {
    MG_CUDA_CHECK(cudaSetDevice(device_index));
    properties_.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties_.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device_index};
    int has_rdma = 0;  // network cards read it then
    check(driver_.attribute(&has_rdma, CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED,
                            device_index),
          "cuDeviceGetAttribute");
    properties_.allocFlags.gpuDirectRDMACapable = has_rdma != 0 ? 1 : 0;
    size_t granularity = 0;
    check(driver_.granularity(&granularity, &properties_, CU_MEM_ALLOC_GRANULARITY_MINIMUM),
          "cuMemGetAllocationGranularity");
    MG_CHECK(page_bytes % static_cast<int64_t>(granularity) == 0,
             "cuda:{}: pages of {} bytes are no multiple of the driver's {}", device_index, page_bytes,
             granularity);
  }

  // The segment has unmapped its pages.
  ~CudaPages() override {
    for (const auto& [data, bytes] : reservations_) driver_.free_addresses(address(data), bytes);
  }

  int64_t page_bytes() const override { return page_bytes_; }

  std::byte* reserve(int64_t bytes) override {
    CUdeviceptr at = 0;
    check(driver_.reserve(&at, static_cast<size_t>(bytes), static_cast<size_t>(page_bytes_), 0, 0),
          "cuMemAddressReserve");
    auto* data = reinterpret_cast<std::byte*>(at);
    reservations_.push_back({data, static_cast<size_t>(bytes)});
    return data;
  }

  bool map(std::byte* at, int64_t num_pages) override {
    MG_CUDA_CHECK(cudaSetDevice(device_index_));
    const WhileCapturing capturing;
    for (int64_t page = 0; page < num_pages; ++page) {
      if (map_one(at + page * page_bytes_)) continue;
      for (int64_t done = 0; done < page; ++done) unmap_one(at + done * page_bytes_);
      return false;
    }
    check(driver_.set_access(address(at), static_cast<size_t>(num_pages * page_bytes_), readers_.data(),
                             readers_.size()),
          "cuMemSetAccess");
    return true;
  }

  void unmap(std::span<std::byte* const> pages) override {
    // Also called from destructors: a failure here has been reported by the call that caused it.
    cudaSetDevice(device_index_);
    cudaDeviceSynchronize();
    for (std::byte* page : pages) unmap_one(page);
  }

  void share_with(int device_index) override {
    const auto is_known = [&](const CUmemAccessDesc& reader) { return reader.location.id == device_index; };
    if (std::any_of(readers_.begin(), readers_.end(), is_known)) return;
    readers_.push_back(access_of(device_index));
    for (std::byte* page : mapped_)
      check(driver_.set_access(address(page), static_cast<size_t>(page_bytes_), readers_.data(),
                               readers_.size()),
            "cuMemSetAccess");
  }

 private:
  void check(CUresult result, const char* what) const { driver_.check(result, what, device_index_); }

  bool map_one(std::byte* at) {
    CUmemGenericAllocationHandle memory = 0;
    const CUresult result = driver_.create(&memory, static_cast<size_t>(page_bytes_), &properties_, 0);
    if (result == CUDA_ERROR_OUT_OF_MEMORY) return false;
    check(result, "cuMemCreate");
    const CUresult mapped = driver_.map(address(at), static_cast<size_t>(page_bytes_), 0, memory, 0);
    driver_.release(memory);  // it lives as long as it is mapped
    check(mapped, "cuMemMap");
    mapped_.insert(at);
    return true;
  }

  void unmap_one(std::byte* at) {
    driver_.unmap(address(at), static_cast<size_t>(page_bytes_));
    mapped_.erase(at);
  }

  Driver driver_;
  int device_index_;
  int64_t page_bytes_;
  CUmemAllocationProp properties_{};
  std::vector<CUmemAccessDesc> readers_;
  std::vector<std::pair<std::byte*, size_t>> reservations_;
  std::set<std::byte*> mapped_;
};

}  // namespace

bool has_cuda_pages(int device_index) {
  int has_pages = 0;
  const Driver driver;
  driver.check(
      driver.attribute(&has_pages, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, device_index),
      "cuDeviceGetAttribute", device_index);
  return has_pages != 0;
}

std::unique_ptr<PageSource> make_cuda_pages(int device_index, int64_t page_bytes) {
  return std::make_unique<CudaPages>(device_index, page_bytes);
}

}  // namespace megalith
