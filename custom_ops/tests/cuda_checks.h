// What the checks of the CUDA kernels are written with: numbers on host and device, and their comparison.
#ifndef KDET_TESTS_CUDA_CHECKS_H_
#define KDET_TESTS_CUDA_CHECKS_H_

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <utility>
#include <vector>

#include "common/floats.h"

namespace kdet {
namespace checks {

inline std::mt19937 generator(0);
inline int failures = 0;

inline void require(cudaError_t status, const char* what) {
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
  for (T& value : values) from_float(distribution(generator), &value);
  return values;
}

inline std::vector<int> whole(size_t n, int low, int high) {
  std::vector<int> values(n);
  for (int& value : values) value = std::uniform_int_distribution<int>(low, high)(generator);
  return values;
}

inline std::vector<float> boxes(size_t n, float size) {
  auto values = numbers<float>(n * 4, 0, size);
  for (size_t i = 0; i < n; ++i) {
    for (int k = 2; k < 4; ++k) values[4 * i + k] += values[4 * i + k - 2];
  }
  return values;
}

inline std::vector<uint8_t> bytes(size_t n, int limit) {
  std::vector<uint8_t> values(n);
  for (uint8_t& value : values) value = uint8_t(generator() % limit);
  return values;
}

template <typename T>
std::vector<float> floats(const std::vector<T>& from) {
  std::vector<float> to(from.size());
  for (size_t i = 0; i < from.size(); ++i) to[i] = to_float(from[i]);
  return to;
}

inline float as_number(int value) { return float(value); }
inline float as_number(uint8_t value) { return float(value); }
template <typename T>
float as_number(T value) {
  return to_float(value);
}

// The CUDA result (on the device) against the CPU result (on the host), relative to the largest number.
template <typename T>
void compare(const char* name, const Both<T>& both, float tolerance) {
  const std::vector<T> found = both.download();
  float largest = 1e-6f, worst = 0;
  bool good = true;  // false for NaN, which no maximum shows
  for (size_t i = 0; i < found.size(); ++i) {
    const float difference = std::abs(as_number(found[i]) - as_number(both.host[i]));
    largest = std::max(largest, std::abs(as_number(both.host[i])));
    worst = std::max(worst, difference);
    good = good && difference <= worst;
  }
  good = good && worst <= tolerance * largest;
  std::printf("%-6s %-32s largest difference %g of %g\n", good ? "ok" : "FAILED", name, worst, largest);
  failures += !good;
}

// A gradient that CUDA sums up as float32 and that the CPU writes in its own type.
template <typename T>
struct Gradient : Both<float> {
  std::vector<T> written;
  explicit Gradient(size_t n) : Both<float>(n), written(n) {}
};

template <typename T>
void compare(const char* name, Gradient<T>& gradient, float tolerance) {
  gradient.host = floats(gradient.written);
  compare(name, static_cast<const Both<float>&>(gradient), tolerance);
}

}  // namespace checks
}  // namespace kdet

#endif  // KDET_TESTS_CUDA_CHECKS_H_
