// The arrays of compressed tokens as the kernels take them; bind_codes.cpp and bind_tokens.cpp share it.
#pragma once

#include "bind.hpp"
#include "maxsim_codes.hpp"

namespace lir {

template <typename Code>
CodedTokens<Code> coded_tokens(const Array<float>& centroid_scores, const Array<Code>& codes,
                                    const Array<std::uint8_t>& packed,
                                    const std::optional<Array<std::uint8_t>>& inv_norm,
                                    const std::optional<Array<float>>& inv_norm_table) {
    return {{codes.data(), centroid_scores.shape(0)},
            centroid_scores.data(),
            int(centroid_scores.shape(1)),
            packed.data(),
            packed.data() + packed.size(),
            inv_norm ? inv_norm->data() : nullptr,
            inv_norm_table ? inv_norm_table->data() : nullptr};
}

}  // namespace lir
