//===-- GroupSource+Words.swift - why a group's free space could not be read ----------------------===//
// The allocator keeps only an error's number with a group; the words are made of what the source keeps
// when somebody asks.

import BGDiskFormat

extension GroupSource {
    package func cacheFailureWords(ofGroupAt logical: UInt64) -> [UInt8]? {
        guard let error = cacheFailure(ofGroupAt: logical) else { return nil }
        var words: [UInt8] = []
        error.append(to: &words)
        return words
    }
}
