//===-- HostAttributes.swift - extended attributes of the machine's files -------------------------===//
// A file that its file system keeps none for has none.

import Glibc
import HostFiles

/// Where attributes are: at an open file, or at one that cannot be opened, such as a symbolic link.
enum HostAttributes {
    case of(CInt)
    case at(path: [UInt8])

    /// Those of a name in a folder; a link is not followed.
    init(of name: [UInt8], in folder: HostFolder) {
        self = .at(path: [UInt8]("/proc/self/fd/\(folder.descriptor)/".utf8) + name)
    }

    /// All names.
    var names: [[UInt8]] {
        let length = unsafe list(UnsafeMutableRawBufferPointer(start: nil, count: 0))
        guard length > 0 else { return [] }
        var names = [UInt8](repeating: 0, count: length)
        let count = unsafe names.withUnsafeMutableBytes { buffer in
            unsafe list(buffer)
        }
        return names.prefix(max(count, 0)).split(separator: 0).map { [UInt8]($0) }
    }

    private func list(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
        let names = unsafe buffer.baseAddress?.assumingMemoryBound(to: CChar.self)
        switch self {
        case .of(let descriptor): return unsafe flistxattr(descriptor, names, buffer.count)
        case .at(let path):
            return unsafe withPath(path) { unsafe llistxattr($0, names, buffer.count) }
        }
    }

    /// The value of one; nil: it cannot be read.
    func value(of name: [UInt8]) -> [UInt8]? {
        // As long as Linux lets one be.
        var value = [UInt8](repeating: 0, count: 65536)
        let count = unsafe value.withUnsafeMutableBytes { buffer in
            unsafe withPath(name) { name in
                switch self {
                case .of(let descriptor):
                    unsafe fgetxattr(descriptor, name, buffer.baseAddress, buffer.count)
                case .at(let path):
                    unsafe withPath(path) {
                        unsafe lgetxattr($0, name, buffer.baseAddress, buffer.count)
                    }
                }
            }
        }
        return count < 0 ? nil : [UInt8](value[..<count])
    }

    /// Sets one; false with errno set.
    func set(_ name: [UInt8], to value: [UInt8]) -> Bool {
        let failed = unsafe value.withUnsafeBytes { buffer in
            unsafe withPath(name) { name in
                switch self {
                case .of(let descriptor):
                    unsafe fsetxattr(descriptor, name, buffer.baseAddress, buffer.count, 0)
                case .at(let path):
                    unsafe withPath(path) {
                        unsafe lsetxattr($0, name, buffer.baseAddress, buffer.count, 0)
                    }
                }
            }
        }
        return failed == 0
    }
}
