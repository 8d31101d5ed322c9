#include <algorithm>
#include <cstdio>

#include <unistd.h>

#include "megalith/base/error.h"
#include "megalith/base/parallel.h"
#include "megalith/base/text.h"
#include "megalith/cli/commands.h"
#include "megalith/cli/version.h"
#include "megalith/comm/mpi_launch.h"
#include "megalith/comm/nccl.h"
#include "megalith/core/cuda/cuda_context.h"
#include "megalith/core/cuda/cuda_pages.h"
#include "megalith/core/has_cuda.h"
#include "megalith/core/isa.h"
#include "megalith/kernels/cuda/device_code.h"
#include "megalith/kernels/cuda/vendor/versions.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/gemm.h"
#include "megalith/ops/random_fill.h"

namespace megalith {
namespace {

struct DoctorOptions {
  bool kernels = false;
};

void declare_fields(DoctorOptions& c, FieldList& f) {
  f.add("kernels", c.kernels, {.help = "list what every GPU kernel needs", .main = true});
}

// One line for each thing looked at; what is wrong is counted.
class Report {
 public:
  void good(const char* what, const std::string& found) { line("ok", what, found); }
  void absent(const char* what, const std::string& found) { line("-", what, found); }
  void bad(const char* what, const std::string& found) {
    line("BAD", what, found);
    ++problems_;
  }
  int problems() const { return problems_; }

 private:
  static void line(const char* mark, const char* what, const std::string& found) {
    std::printf("%-4s %-10s %s\n", mark, what, found.c_str());
  }
  int problems_ = 0;
};

std::string free_space(int64_t pages) {
  return human_bytes(static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE)));
}

// A product that the device computes is the CPU's.
void check_product(Report& report, const char* what, Device device) {
  Exec cpu({.num_threads = 1});
  Exec exec({.device = device, .num_threads = 1});
  const auto product = [](Exec& e) {
    const Tensor a = e.empty({64, 96}, DType::kF32), b = e.empty({96, 32}, DType::kF32);
    fill_normal({.x = a, .rng = {1, 1}}, e);
    fill_normal({.x = b, .rng = {1, 2}}, e);
    const Tensor c = e.empty({64, 32}, DType::kF32);
    gemm({.a = a, .b = b, .c = c}, e);
    return to_vector<double>(c);
  };
  const std::vector<double> got = product(exec), expected = product(cpu);
  double largest = 0;
  for (size_t i = 0; i < got.size(); ++i) largest = std::max(largest, std::abs(got[i] - expected[i]));
  if (largest < 1e-3) return report.good(what, "a product of two matrices is right");
  report.bad(what, fmt::format("a product of two matrices differs by {:.2g}", largest));
}

void examine_gpu(const CudaLimits& limits, const std::string& device, bool lists_kernels, Report& report) {
  report.good("gpu", fmt::format("{}: {}, sm_{}, {} multiprocessors, {}, {} KiB of shared memory for a block",
                                 device, limits.name, limits.arch, limits.sm_count,
                                 human_bytes(static_cast<double>(limits.memory_bytes)),
                                 limits.shared_bytes_per_block / 1024));
  if constexpr (kHasCuda) {
    const cuda::DeviceCode code = cuda::inspect_device_code(limits);
    for (const std::string& refusal : code.refusals) report.bad("kernels", refusal);
    int64_t shared = 0;
    for (const cuda::KernelNeeds& kernel : code.kernels) shared = std::max(shared, kernel.shared_bytes);
    if (code.refusals.empty() && !code.kernels.empty())
      report.good("kernels", fmt::format("{} for sm_{}; the largest takes {} KiB of shared memory",
                                         code.kernels.size(), code.kernels[0].arch, shared / 1024));
    if (!code.idle.empty())
      report.absent("kernels", fmt::format("{} use instructions of Hopper (sm_90) alone and are replaced by "
                                           "others on sm_{}: {}",
                                           code.idle.size(), limits.arch, fmt::join(code.idle, ", ")));
    if (!lists_kernels) return;
    for (const cuda::KernelNeeds& kernel : code.kernels)
      std::printf("  sm_%d  %3d registers  %4d threads  %6.1f KiB  %s\n", kernel.arch, kernel.registers,
                  kernel.max_threads, static_cast<double>(kernel.shared_bytes) / 1024, kernel.name.c_str());
  }
}

void examine_gpus(const DoctorOptions& options, Report& report) {
  if constexpr (!kHasCuda) return report.absent("gpu", "this build has no CUDA; the preset cuda makes one");
  if constexpr (kHasCuda) {
    report.good("cuda", cuda::library_versions());
    const int count = cuda_device_count();
    if (count == 0) report.absent("gpu", "there is none that this process can use");
    for (int index = 0; index < count; ++index) {
      const std::string device = fmt::format("cuda:{}", index);
      try {
        const CudaContext context(index);
        examine_gpu(context.limits(), device, options.kernels && index == 0, report);
        report.good("memory", has_cuda_pages(index)
                                  ? "one segment that grows, by the driver's virtual memory management"
                                  : "the driver maps no pages: blocks by their size, from cudaMalloc");
        check_product(report, "gpu", {DeviceKind::kCuda, index});
      } catch (const Error& error) {
        report.bad("gpu", error.what());
      }
    }
  }
}

void run_doctor(CommandLine& line) {
  DoctorOptions options;
  line.add("doctor", "Doctor", options);
  if (!line.parse()) return;
  Report report;
  report.good("megalith", kVersion);
  report.good("cpu", fmt::format("{} threads, kernels for {}, {} of memory, {} free", hardware_threads(),
                                 name_of(best_isa()), free_space(sysconf(_SC_PHYS_PAGES)),
                                 free_space(sysconf(_SC_AVPHYS_PAGES))));
  check_product(report, "cpu", {});
  has_mpi() ? report.good("mpi", "ranks can be processes: mpirun, srun")
            : report.absent("mpi", "this build has none: ranks are threads of one process");
  examine_gpus(options, report);
  has_nccl() ? report.good("nccl", "a run can have several GPUs")
             : report.absent("nccl", "this build has none: a run has one GPU");
  std::fflush(stdout);
  MG_CHECK(report.problems() == 0, "{} problem{} on this machine, see above", report.problems(),
           report.problems() == 1 ? "" : "s");
}

}  // namespace

Command doctor_command() {
  return {.name = "doctor",
          .summary = "Look whether this machine and this build can run: CPU, GPUs, libraries, kernels.",
          .examples = {"megalith doctor", "megalith doctor --kernels"},
          .run = run_doctor};
}

}  // namespace megalith
