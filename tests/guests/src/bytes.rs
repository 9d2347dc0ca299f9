//! Modules byte by byte, for tests of what no compiler writes.

/// A number as WebAssembly writes it (unsigned LEB128).
pub fn length(mut n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while n > 0x7f {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

/// A section, of a core module or a component.
pub fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &length(content.len()), content].concat()
}

/// A core module of `count` functions without parameters and results: `body` is their locals and their code.
pub fn core_module_of(count: usize, body: &[u8]) -> Vec<u8> {
    core_module_with(&[], count, body)
}

/// The same, with these sections before the functions' code.
pub fn core_module_with(sections: &[u8], count: usize, body: &[u8]) -> Vec<u8> {
    let body = [&length(body.len())[..], body].concat();
    [
        &b"\0asm\x01\0\0\0"[..],
        &section(1, &[1, 0x60, 0, 0]),
        &section(3, &[length(count), vec![0; count]].concat()),
        sections,
        &section(10, &[length(count), body.repeat(count)].concat()),
    ]
    .concat()
}

/// A core module that takes the compiler minutes: with 200 locals in 200 loops, one of its functions took it 7 s.
pub fn slow_to_compile() -> Vec<u8> {
    let (locals, loops) = (600, 600);
    let mut code = [0x03, 0x40].repeat(loops);
    for local in 0..locals {
        // Each local changes in each of the loops: nothing of it is known where one begins.
        code.extend([&[0x20][..], &length(local), &[0x41, 1, 0x6a, 0x21], &length(local)].concat());
    }
    code.extend([0x20, 0, 0x0d, 0, 0x0b].repeat(loops));
    code.push(0x0b);
    core_module_of(64, &[&[1][..], &length(locals), &[0x7f], &code].concat())
}
