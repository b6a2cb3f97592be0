// `bitxcore.prune` of float32 by N rows, as one would write it first in C++: loops over the groups, their
// rows and their members, all of constant length, for the compiler to unroll and vectorise. GROUP is given
// on the command line. Exact; subnormals too, so never to be compiled with -ffast-math.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

constexpr int WINDOW = 32;
constexpr uint32_t SIGN = 0x80000000, FIELD = 0x7f800000, HIDDEN = 0x00800000, FRACTION = 0x007fffff;

static float as_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t as_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

// Returns the number of groups with a NaN or Inf, which are copied.
extern "C" int64_t prune(const uint32_t *x, uint32_t *out, uint32_t *masks, int16_t *exponents, uint8_t *kept,
                         int64_t groups, int rows, int threads) {
    double weight[WINDOW];
    for (int row = 0; row < WINDOW; row++) weight[row] = std::ldexp(1.0, 2 * (WINDOW - 1 - row));
    int64_t bad = 0;

#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : bad)
    for (int64_t g = 0; g < groups; g++) {
        const uint32_t *in = x + g * GROUP;
        uint32_t *to = out + g * GROUP;

        uint32_t significand[GROUP], distance[GROUP], aligned[GROUP], emax = 0;
        for (int j = 0; j < GROUP; j++) {
            uint32_t field = (in[j] & FIELD) >> 23;
            significand[j] = (in[j] & FRACTION) | (field ? HIDDEN : 0);
            distance[j] = std::max(field, 1u);
            emax = std::max(emax, significand[j] ? distance[j] : 0);
        }
        exponents[g] = emax;
        if (emax == 255) {
            std::copy(in, in + GROUP, to);
            masks[g] = ~0u;
            kept[g] = WINDOW;
            bad++;
            continue;
        }
        for (int j = 0; j < GROUP; j++) {
            distance[j] = emax - distance[j];  // in a group of zeros it wraps
            aligned[j] = distance[j] < WINDOW ? significand[j] << 8 >> distance[j] : 0;
        }

        double significance[WINDOW];
        for (int row = 0; row < WINDOW; row++) {
            int ones = 0;
            for (int j = 0; j < GROUP; j++) ones += aligned[j] >> (WINDOW - 1 - row) & 1;
            significance[row] = ones * weight[row];
        }
        uint32_t mask = 0;
        int n = 0;
        for (; n < rows; n++) {
            int best = 0;
            for (int row = 1; row < WINDOW; row++)
                if (significance[row] > significance[best]) best = row;
            if (significance[best] == 0) break;
            significance[best] = 0;
            mask |= 1u << (WINDOW - 1 - best);
        }
        masks[g] = mask;
        kept[g] = n;

        for (int j = 0; j < GROUP; j++) {
            uint32_t stays = distance[j] < WINDOW ? (aligned[j] & mask) << distance[j] >> 8 : 0;
            float head = as_float(stays & HIDDEN ? 0 : in[j] & FIELD);  // taking it off renormalises, exactly
            float magnitude = as_float((in[j] & FIELD) | (stays & FRACTION)) - head;
            to[j] = as_bits(magnitude) | (in[j] & SIGN);
        }
    }
    return bad;
}
