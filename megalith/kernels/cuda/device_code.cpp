#include "megalith/kernels/cuda/device_code.h"

#include <cstring>
#include <fstream>
#include <span>

#include <cuda_runtime_api.h>
#include <cxxabi.h>
#include <elf.h>
#include <link.h>

#include "megalith/base/error.h"
#include "megalith/kernels/cuda/attention_tiled.h"
#include "megalith/kernels/cuda/cross_entropy.h"
#include "megalith/kernels/cuda/norm.h"

namespace megalith::cuda {
namespace {

// What nvcc leaves for each object file in the section .nvFatBinSegment, from where the runtime registers it.
struct FatBinary {
  uint32_t magic, version;
  const void* code;
  const void* unused;
};
constexpr uint32_t kFatBinaryMagic = 0x466243B1;

template <class T>
T read_at(std::ifstream& file, uint64_t place) {
  T value{};
  file.seekg(static_cast<std::streamoff>(place));
  file.read(reinterpret_cast<char*>(&value), sizeof value);
  return value;
}

uintptr_t load_address() {
  uintptr_t address = 0;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* result) {
        *static_cast<uintptr_t*>(result) = info->dlpi_addr;  // the program itself comes first
        return 1;
      },
      &address);
  return address;
}

std::span<const FatBinary> fat_binaries() {
  std::ifstream file("/proc/self/exe", std::ios::binary);
  const auto header = read_at<Elf64_Ehdr>(file, 0);
  const auto section = [&](uint64_t index) {
    return read_at<Elf64_Shdr>(file, header.e_shoff + index * header.e_shentsize);
  };
  const Elf64_Shdr names = section(header.e_shstrndx);
  for (uint64_t i = 0; file.good() && i < header.e_shnum; ++i) {
    const Elf64_Shdr each = section(i);
    char name[24] = {};
    file.seekg(static_cast<std::streamoff>(names.sh_offset + each.sh_name));
    file.read(name, sizeof name - 1);
    if (std::strcmp(name, ".nvFatBinSegment") != 0) continue;
    const auto* first = reinterpret_cast<const FatBinary*>(load_address() + each.sh_addr);
    return {first, each.sh_size / sizeof(FatBinary)};
  }
  return {};
}

// "backward_ahead<float, 4, 256, true>" of its mangled name.
std::string readable(const char* mangled) {
  int status = 0;
  char* text = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name = status == 0 ? text : mangled;
  std::free(text);
  for (const std::string_view noise : {"void ", "megalith::cuda::", "megalith::", "(anonymous namespace)::"})
    for (size_t at = name.find(noise); at != std::string::npos; at = name.find(noise))
      name.erase(at, noise.size());
  return name.substr(0, name.find('('));
}

int64_t launched_shared_bytes(const std::string& name) {
  if (name.starts_with("forward_kernel<") && name.find("AttentionTile") != std::string::npos)
    return kTiledForwardSharedBytes;
  if ((name.starts_with("key_kernel<") || name.starts_with("query_kernel<")) &&
      name.find("AttentionTile") != std::string::npos)
    return kTiledBackwardSharedBytes;
  if (name.starts_with("cross_entropy_row<") && name.ends_with("true>")) return kMaxHeldRowBytes;
  if (name.starts_with("backward_ahead<")) return kNormBackwardSharedBytes;
  return 0;
}

// Compiled to nothing for other architectures; limits().arch decides where they are launched.
bool needs_hopper(const std::string& name) {
  return name.starts_with("product_kernel<") || name.find("WarpgroupTile<") != std::string::npos;
}

void inspect_kernel(cudaKernel_t kernel, const CudaLimits& limits, DeviceCode& result) {
  const void* function = reinterpret_cast<const void*>(kernel);
  const char* mangled = "?";
  cudaFuncGetName(&mangled, function);
  cudaFuncAttributes attributes{};
  const cudaError_t error = cudaFuncGetAttributes(&attributes, function);
  const std::string name = readable(mangled);
  if (error != cudaSuccess) {
    cudaGetLastError();
    result.refusals.push_back(fmt::format("kernel {}: {}", name, cudaGetErrorString(error)));
    return;
  }
  constexpr int kHopper = 90;
  if (limits.arch != kHopper && needs_hopper(name)) {
    result.idle.push_back(name);
    return;
  }
  const KernelNeeds needs{.name = name,
                          .arch = attributes.binaryVersion,
                          .registers = attributes.numRegs,
                          .max_threads = attributes.maxThreadsPerBlock,
                          .shared_bytes = std::max(static_cast<int64_t>(attributes.sharedSizeBytes),
                                                   launched_shared_bytes(name))};
  if (needs.shared_bytes > limits.shared_bytes_per_block) {
    result.refusals.push_back(
        fmt::format("kernel {}: needs {} KiB of shared memory, a block of {} has {} KiB", name,
                    needs.shared_bytes / 1024, limits.name, limits.shared_bytes_per_block / 1024));
  }
  result.kernels.push_back(needs);
}

}  // namespace

DeviceCode inspect_device_code(const CudaLimits& limits) {
  DeviceCode result;
  for (const FatBinary& each : fat_binaries()) {
    if (each.magic != kFatBinaryMagic) continue;
    cudaLibrary_t library = nullptr;
    const cudaError_t error =
        cudaLibraryLoadData(&library, each.code, nullptr, nullptr, 0, nullptr, nullptr, 0);
    if (error != cudaSuccess) {
      cudaGetLastError();
      result.refusals.push_back(
          fmt::format("kernels: {} of architecture sm_{} cannot run this build's code ({}); configure with "
                      "-DCMAKE_CUDA_ARCHITECTURES={}a",
                      limits.name, limits.arch, cudaGetErrorString(error), limits.arch));
      return result;
    }
    unsigned count = 0;
    cudaLibraryGetKernelCount(&count, library);
    std::vector<cudaKernel_t> kernels(count);
    if (count > 0) cudaLibraryEnumerateKernels(kernels.data(), count, library);
    for (const cudaKernel_t kernel : kernels) inspect_kernel(kernel, limits, result);
    cudaLibraryUnload(library);
  }
  return result;
}

void check_device_code(const CudaLimits& limits) {
  std::string all;
  for (const std::string& refusal : inspect_device_code(limits).refusals) all += "\n  " + refusal;
  MG_CHECK(all.empty(), "this build cannot run on {}:{}", limits.name, all);
}

}  // namespace megalith::cuda
