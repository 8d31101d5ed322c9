#pragma once
// defines: RowsAlong, kSwizzledRowBytes, operand_descriptor, descriptor_step, warpgroup_mma, warpgroup_begin,
// warpgroup_commit, warpgroup_wait, settle, give_registers, take_registers

#include <cstdint>

namespace megalith::cuda {

/// Which index of an operand runs along its rows of 64 elements in shared memory: that of the sum, or that
/// of the result.
enum class RowsAlong { kSum, kResult };

/// Operands lie in shared memory as the copy engine leaves a box of 128 bytes a row under its 128-byte
/// swizzle: 16-byte unit u of row r at u ^ (r % 8), eight rows a kibibyte, each box aligned to one.
constexpr uint32_t kSwizzledRowBytes = 128;
constexpr uint32_t kSwizzledEightRows = 8 * kSwizzledRowBytes;

/// How the tensor cores find an operand (PTX ISA, "matrix descriptor"). kSum: rows of the result's index, 64
/// of the sum's each. kResult: boxes of 64 rows of the sum's index, 64 of the result's each, one behind the
/// other.
template <RowsAlong kRows>
__device__ inline uint64_t operand_descriptor(uint32_t address) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kBetweenEights = kSwizzledEightRows / 16;
  constexpr uint64_t kBetweenBoxes = kRows == RowsAlong::kSum ? 1 : 64 * kSwizzledRowBytes / 16;
  return kSwizzle128 | kBetweenEights << 32 | kBetweenBoxes << 16 | (address & 0x3FFFF) >> 4;
}
/// From 16 terms of the sum to the next.
template <RowsAlong kRows>
constexpr uint64_t descriptor_step() {
  return kRows == RowsAlong::kSum ? 16 * sizeof(uint16_t) / 16 : 16 * kSwizzledRowBytes / 16;
}

/// Before the first product of a group: registers and shared memory are as the tensor cores shall see them.
__device__ inline void warpgroup_begin() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void warpgroup_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Until at most kPending groups are under way.
template <int kPending>
__device__ inline void warpgroup_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
/// The compiler may not use `d` before this point, which stands behind a wait.
__device__ inline void settle(float (&d)[128]) {
#pragma unroll
  for (int i = 0; i < 128; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

/// d (+)= A B of bf16 for 64 rows, 256 columns and 16 terms, by the four warps of a warpgroup. Warp w of them
/// holds rows 16 w to 16 w + 15; a lane's d[4 j + 2 h + e] is row lane / 4 + 8 h, column 8 j + 2 (lane % 4) +
/// e. With accumulates == 0 the old d is not read.
template <RowsAlong kA, RowsAlong kB>
__device__ inline void warpgroup_mma(float (&d)[128], uint64_t a, uint64_t b, int accumulates) {
  asm volatile(
      "{\n.reg .pred accumulates;\nsetp.ne.b32 accumulates, %130, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
      "%128, %129, accumulates, 1, 1, %131, %132;\n}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
        "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
        "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]),
        "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]),
        "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]),
        "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]),
        "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]),
        "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]),
        "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]), "+f"(d[64]),
        "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]),
        "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]),
        "+f"(d[79]), "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]),
        "+f"(d[86]), "+f"(d[87]), "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), "+f"(d[92]),
        "+f"(d[93]), "+f"(d[94]), "+f"(d[95]), "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), "+f"(d[99]),
        "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]), "+f"(d[104]), "+f"(d[105]), "+f"(d[106]),
        "+f"(d[107]), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111]), "+f"(d[112]), "+f"(d[113]),
        "+f"(d[114]), "+f"(d[115]), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119]), "+f"(d[120]),
        "+f"(d[121]), "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])
      : "l"(a), "l"(b), "r"(accumulates), "n"(kA == RowsAlong::kResult ? 1 : 0),
        "n"(kB == RowsAlong::kResult ? 1 : 0));
}

/// A warpgroup that needs few registers leaves them to those that need many.
template <int kCount>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}

}  // namespace megalith::cuda
