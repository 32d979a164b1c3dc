// Checks every CUDA kernel against its CPU twin on random inputs. Needs nvcc and a GPU, nothing else:
//   nvcc -std=c++17 -O2 -arch=native -Xcompiler -fopenmp-simd -Icustom_ops -I<folder of Eigen> \
//     custom_ops/tests/cuda_kernels.cu custom_ops/*/*.cu -o cuda_kernels && ./cuda_kernels
// (Eigen is needed by the CPU twin of deformable convolution only.)
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "carafe/carafe_cpu.h"
#include "corner_pool/corner_pool_cpu.h"
#include "crop_masks/crop_masks_cpu.h"
#include "deform_conv/deform_conv_cpu.h"
#include "deform_roi_pool/deform_roi_pool_cpu.h"
#include "ms_deform_attn/ms_deform_attn_cpu.h"
#include "ms_deform_attn/ms_deform_attn_cuda.h"
#include "nms/nms_cpu.h"
#include "roi_align/roi_align_cpu.h"
#include "roi_align/roi_align_cuda.h"

extern "C" {
cudaError_t kdet_cuda_carafe(const kdet::Carafe*, int, const void*, const void*, void*, cudaStream_t);
cudaError_t kdet_cuda_carafe_grad(const kdet::Carafe*, int, const void*, const void*, const void*, void*, void*,
                                  cudaStream_t);
cudaError_t kdet_cuda_corner_pool(const kdet::CornerPool*, int, const void*, void*, cudaStream_t);
cudaError_t kdet_cuda_corner_pool_grad(const kdet::CornerPool*, int, const void*, const void*, float*,
                                       cudaStream_t);
cudaError_t kdet_cuda_nms(const kdet::Nms*, const float*, const int*, const int*, unsigned long long*, int*, int*,
                          cudaStream_t);
cudaError_t kdet_cuda_crop_masks(const kdet::CropMasks*, const uint8_t*, const float*, const int*, float*,
                                 cudaStream_t);
cudaError_t kdet_cuda_deform_gather(const kdet::DeformConv*, int, const void*, const float*, const float*, void*,
                                    cudaStream_t);
cudaError_t kdet_cuda_deform_scatter(const kdet::DeformConv*, int, const void*, const float*, const float*,
                                     const void*, float*, float*, float*, cudaStream_t);
}

namespace {

std::mt19937 generator(0);
int failures = 0;

void require(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  std::printf("FAILED %s: %s\n", what, cudaGetErrorString(status));
  std::exit(1);
}

// The same numbers here and on the device.
template <typename T>
struct Both {
  std::vector<T> host;
  T* device = nullptr;
  explicit Both(size_t n) : host(n) { upload(); }
  explicit Both(std::vector<T> values) : host(std::move(values)) { upload(); }
  Both(const Both&) = delete;
  ~Both() { cudaFree(device); }
  void upload() {
    require(cudaMalloc(&device, std::max<size_t>(host.size(), 1) * sizeof(T)), "cudaMalloc");
    require(cudaMemcpy(device, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice), "upload");
  }
  std::vector<T> download() const {
    std::vector<T> values(host.size());
    require(cudaDeviceSynchronize(), "kernel");
    require(cudaMemcpy(values.data(), device, host.size() * sizeof(T), cudaMemcpyDeviceToHost), "download");
    return values;
  }
};

template <typename T>
std::vector<T> numbers(size_t n, float low, float high) {
  std::uniform_real_distribution<float> distribution(low, high);
  std::vector<T> values(n);
  for (T& value : values) kdet::from_float(distribution(generator), &value);
  return values;
}

std::vector<int> whole(size_t n, int low, int high) {
  std::vector<int> values(n);
  for (int& value : values) value = std::uniform_int_distribution<int>(low, high)(generator);
  return values;
}

std::vector<float> boxes(size_t n, float size) {
  auto values = numbers<float>(n * 4, 0, size);
  for (size_t i = 0; i < n; ++i) {
    for (int k = 2; k < 4; ++k) values[4 * i + k] += values[4 * i + k - 2];
  }
  return values;
}

inline float as_number(int value) { return float(value); }
template <typename T>
float as_number(T value) {
  return kdet::to_float(value);
}

// The CUDA result (on the device) against the CPU result (on the host), relative to the largest number.
template <typename T>
void compare(const char* name, const Both<T>& both, float tolerance) {
  const std::vector<T> found = both.download();
  float largest = 1e-6f, worst = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    largest = std::max(largest, std::abs(as_number(both.host[i])));
    worst = std::max(worst, std::abs(as_number(found[i]) - as_number(both.host[i])));
  }
  const bool good = worst <= tolerance * largest;
  std::printf("%-6s %-32s largest difference %g of %g\n", good ? "ok" : "FAILED", name, worst, largest);
  failures += !good;
}

template <typename T>
void check_types(int type, float tolerance) {
  const kdet::ParallelFor serial = kdet::serial();
  for (bool aligned : {true, false}) {
    for (int ratio : {0, 2}) {
      const kdet::RoiAlign p = {2, {13, 7}, {17, 9}, {0.25f, 0.125f}, 2, 11, 19, 3, 2, ratio, aligned};
      Both<T> a(numbers<T>(2 * 13 * 17 * 19, -1, 1)), b(numbers<T>(2 * 7 * 9 * 19, -1, 1));
      Both<float> box(boxes(22, 60)), offsets(numbers<float>(22 * 12, -1, 1));
      Both<int> levels(whole(22, 0, 1));
      Both<T> up(numbers<T>(22 * 6 * 19, -1, 1)), out(up.host.size());
      Both<float> ga(a.host.size()), gb(b.host.size()), go(offsets.host.size());
      const T* host[] = {a.host.data(), b.host.data()};
      const void* device[] = {a.device, b.device};
      float *host_gradients[] = {ga.host.data(), gb.host.data()}, *device_gradients[] = {ga.device, gb.device};
      const bool moved = aligned && ratio == 2;
      const float* shift = moved ? offsets.device : nullptr;
      require(kdet_cuda_roi_align(&p, type, device, box.device, levels.device, shift, 0.1f, out.device, nullptr),
              "roi_align");
      require(kdet_cuda_roi_align_grad(&p, type, up.device, device, box.device, levels.device, shift, 0.1f,
                                       device_gradients, moved ? go.device : nullptr, nullptr),
              "roi_align_grad");
      if (moved) {
        kdet::deform_roi_pool_forward(p, 0.1f, host, box.host.data(), levels.host.data(), offsets.host.data(),
                                      out.host.data(), serial);
        kdet::deform_roi_pool_backward(p, 0.1f, host, box.host.data(), levels.host.data(), offsets.host.data(),
                                       up.host.data(), host_gradients, go.host.data(), serial);
        compare("deform_roi_pool offsets", go, tolerance);
      } else {
        kdet::roi_align_forward(p, host, box.host.data(), levels.host.data(), out.host.data(), serial);
        kdet::roi_align_backward(p, up.host.data(), box.host.data(), levels.host.data(), host_gradients, serial);
      }
      compare(moved ? "deform_roi_pool" : "roi_align", out, tolerance);
      compare("  gradient, level 0", ga, tolerance);
      compare("  gradient, level 1", gb, tolerance);
    }
  }
  {
    const kdet::MsDeformAttn p = {2, 54, 9, 3, 5, 2, 4, {6, 3}, {7, 4}, {0, 42}};
    Both<T> value(numbers<T>(2 * 54 * 15, -1, 1)), up(numbers<T>(2 * 9 * 15, -1, 1)), out(up.host.size());
    Both<float> where(numbers<float>(2 * 9 * 3 * 8 * 2, -0.3f, 1.3f)), weight(numbers<float>(2 * 9 * 3 * 8, 0, 1));
    Both<float> gv(value.host.size()), gl(where.host.size()), gw(weight.host.size());
    require(kdet_cuda_ms_deform_attn(&p, type, value.device, where.device, weight.device, out.device, nullptr),
            "ms_deform_attn");
    require(kdet_cuda_ms_deform_attn_grad(&p, type, value.device, where.device, weight.device, up.device,
                                          gv.device, gl.device, gw.device, nullptr),
            "ms_deform_attn_grad");
    kdet::ms_deform_attn_forward(p, value.host.data(), where.host.data(), weight.host.data(), out.host.data(),
                                 serial);
    kdet::ms_deform_attn_backward(p, value.host.data(), where.host.data(), weight.host.data(), up.host.data(),
                                  gv.host.data(), gl.host.data(), gw.host.data(), serial);
    compare("ms_deform_attn", out, tolerance);
    compare("  gradient, value", gv, tolerance);
    compare("  gradient, locations", gl, tolerance);
    compare("  gradient, weights", gw, tolerance);
  }
  {
    const kdet::Carafe p = {2, 4, 5, 6, 3, 2, 2};
    Both<T> x(numbers<T>(2 * 20 * 6, -1, 1)), mask(numbers<T>(2 * 80 * 18, 0, 1)), up(numbers<T>(960, -1, 1));
    Both<T> out(960), gx(x.host.size()), gm(mask.host.size());
    require(kdet_cuda_carafe(&p, type, x.device, mask.device, out.device, nullptr), "carafe");
    require(kdet_cuda_carafe_grad(&p, type, x.device, mask.device, up.device, gx.device, gm.device, nullptr),
            "carafe_grad");
    kdet::carafe::forward(p, x.host.data(), mask.host.data(), out.host.data(), serial);
    kdet::carafe::backward(p, x.host.data(), mask.host.data(), up.host.data(), gx.host.data(), gm.host.data(),
                           serial);
    compare("carafe", out, tolerance);
    compare("  gradient, features", gx, tolerance);
    compare("  gradient, masks", gm, tolerance);
  }
  for (int k = 0; k < 4; ++k) {
    const kdet::CornerPool p = {2, 6, 7, 5, k < 2, k % 2 == 0};
    Both<T> x(numbers<T>(420, -1, 1)), up(numbers<T>(420, -1, 1)), out(420);
    Both<float> gx(420);
    require(kdet_cuda_corner_pool(&p, type, x.device, out.device, nullptr), "corner_pool");
    require(kdet_cuda_corner_pool_grad(&p, type, x.device, up.device, gx.device, nullptr), "corner_pool_grad");
    kdet::corner_pool_forward(p, x.host.data(), out.host.data(), serial);
    kdet::corner_pool_backward(p, x.host.data(), up.host.data(), gx.host.data(), serial);
    compare("corner_pool", out, 0);
    compare("  gradient", gx, tolerance);
  }
  {
    // An identity kernel of one output per seen number would be large: compare the gathered part alone.
    const kdet::DeformConv p = {2, 9, 11, 8, 5, 6, 12, 3, 3, 2, 2, 2, 2, 2, 2, 2, 4};
    const size_t samples = p.pixels() * 36;
    Both<T> x(numbers<T>(2 * 9 * 11 * 8, -1, 1)), seen(p.pixels() * 72);
    Both<float> offsets(numbers<float>(samples * 2, -3, 3)), mask(numbers<float>(samples, 0, 1));
    require(kdet_cuda_deform_gather(&p, type, x.device, offsets.device, mask.device, seen.device, nullptr),
            "deform_gather");
    std::vector<float> floats(seen.host.size()), scratch(16);
    kdet::deform_conv::gather(p, x.host.data(), offsets.host.data(), mask.host.data(), 0, p.pixels(), 0, 8,
                              floats.data(), scratch.data());
    kdet::store_floats(floats.data(), floats.size(), seen.host.data());
    compare("deform_conv, gathered", seen, tolerance);
    // <wanted, gather(x)> = <scatter(wanted), x>: the backward kernel is the transpose of the forward one.
    Both<T> wanted(numbers<T>(seen.host.size(), -1, 1));
    Both<float> gx(x.host.size()), go(offsets.host.size()), gm(mask.host.size());
    require(kdet_cuda_deform_scatter(&p, type, x.device, offsets.device, mask.device, wanted.device, gx.device,
                                     go.device, gm.device, nullptr),
            "deform_scatter");
    const auto back = gx.download(), for_mask = gm.download();
    double forward = 0, backward = 0, by_mask = 0;
    for (size_t i = 0; i < floats.size(); ++i) forward += double(kdet::to_float(wanted.host[i])) * floats[i];
    for (size_t i = 0; i < back.size(); ++i) backward += double(kdet::to_float(x.host[i])) * back[i];
    for (size_t i = 0; i < for_mask.size(); ++i) by_mask += double(mask.host[i]) * for_mask[i];
    const bool good = std::abs(forward - backward) <= tolerance * 10 * (1 + std::abs(forward)) &&
                      std::abs(forward - by_mask) <= tolerance * 10 * (1 + std::abs(forward));
    std::printf("%-6s deform_conv, gradients: %g %g %g\n", good ? "ok" : "FAILED", forward, backward, by_mask);
    failures += !good;
  }
}

void check_suppression() {
  const kdet::Nms p = {3, 200, 50, 0.5f, 0.1f};
  Both<float> box(boxes(600, 100));
  const auto scores = numbers<float>(600, 0, 1);
  std::vector<int> order(600), candidates(3);
  for (int b = 0; b < 3; ++b) {
    const float* score = scores.data() + 200 * b;
    for (int i = 0; i < 200; ++i) order[200 * b + i] = i;
    std::stable_sort(order.begin() + 200 * b, order.begin() + 200 * (b + 1),
                     [score](int i, int j) { return score[i] > score[j]; });
    for (int i = 0; i < 200; ++i) candidates[b] += score[i] > p.score_threshold;
  }
  Both<int> sorted(order), many(candidates), indices(150), counts(3);
  Both<unsigned long long> scratch(3 * 201 * 4);
  require(kdet_cuda_nms(&p, box.device, sorted.device, many.device, scratch.device, indices.device, counts.device,
                        nullptr),
          "nms");
  kdet::nms(p, box.host.data(), scores.data(), nullptr, indices.host.data(), counts.host.data(), kdet::serial());
  compare("nms", indices, 0);
  compare("nms, counts", counts, 0);
}

void check_crop() {
  const kdet::CropMasks p = {2, 3, 20, 37, 6, 7, 5};
  std::vector<uint8_t> bits(2 * 3 * 37 * 6);
  for (uint8_t& byte : bits) byte = uint8_t(generator());
  Both<uint8_t> masks(bits);
  Both<float> box(boxes(40, 40)), out(40 * 35);
  Both<int> index(whole(40, -1, 2));
  require(kdet_cuda_crop_masks(&p, masks.device, box.device, index.device, out.device, nullptr), "crop_masks");
  kdet::crop_masks(p, masks.host.data(), box.host.data(), index.host.data(), out.host.data(), kdet::serial());
  compare("crop_masks", out, 0);
}

}  // namespace

int main() {
  check_types<float>(0, 1e-5f);
  check_types<kdet::Half>(1, 4e-3f);
  check_types<kdet::BFloat16>(2, 3e-2f);
  check_suppression();
  check_crop();
  std::printf(failures ? "%d FAILED\n" : "all CUDA kernels agree with the CPU\n", failures);
  return failures != 0;
}
