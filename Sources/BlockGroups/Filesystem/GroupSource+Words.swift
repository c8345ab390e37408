//===-- GroupSource+Words.swift - why a group's free space could not be read ----------------------===//
// The allocator keeps only an error's number with a group. The words are found again when somebody
// asks, by reading once more: a group that is not cached has not changed since (GroupSource).

import BGDiskFormat

extension GroupSource {
    package func cacheFailureWords(ofGroupAt logical: UInt64) -> [UInt8]? {
        guard let error = cacheFailure(ofGroupAt: logical) else { return nil }
        var words: [UInt8] = []
        error.append(to: &words)
        return words
    }
}
