"""Which files of a repository a source means, as a table of what repositories really look like."""

from __future__ import annotations

import pytest

from paddock_api.errors import Code, PaddockError
from paddock_operator.hub.documents import Lfs, RepoFile
from paddock_operator.resolve.choose import choose, has_quant, is_model
from paddock_operator.resolve.shards import all_shards, shard_of

SHA = "a" * 64
REPO = "org/model-GGUF"

PLAIN = ["README.md", "model-IQ4_XS.gguf", "model-Q2_K.gguf", "model-Q2_K_L.gguf", "model-Q4_0.gguf",
         "model-Q4_K_M.gguf", "model-Q8_0.gguf", "model-bf16.gguf", "model-f16.gguf",
         "mmproj-model-Q8_0.gguf", "model.imatrix.gguf"]
SHARDED = [f"Q8_0/m-Q8_0-0000{number}-of-00003.gguf" for number in (3, 1, 2)] + ["m-Q4_0.gguf"]
COMPANIONS = ["mtp-model-Q4_K_M.gguf", "eagle3-model-Q4_K_M.gguf", "model-draft-Q4_K_M.gguf", "Draft-Q8_0.gguf",
              "imatrix-Q4_K_M.gguf", "MMPROJ-Q8_0.gguf", "zz-Q5_K_S.gguf"]


def files(*paths: str) -> list[RepoFile]:
    return [RepoFile(rfilename=path, size=3, lfs=Lfs(sha256=SHA, size=3)) for path in paths]


def chosen(paths: list[str], *, file: str | None = None, quant: str | None = None) -> list[str]:
    return [found.rfilename for found in choose(REPO, files(*paths), file=file, quant=quant)]


def refused(paths: list[str], *, file: str | None = None, quant: str | None = None) -> PaddockError:
    with pytest.raises(PaddockError) as caught:
        chosen(paths, file=file, quant=quant)
    return caught.value


@pytest.mark.parametrize(("paths", "quant", "expected"), [
    (PLAIN, None, "model-Q4_K_M.gguf"),
    (PLAIN, "Q4_K_M", "model-Q4_K_M.gguf"),
    (PLAIN, "q4_k_m", "model-Q4_K_M.gguf"),
    (PLAIN, "BF16", "model-bf16.gguf"),
    (PLAIN, "F16", "model-f16.gguf"),
    (PLAIN, "Q2_K", "model-Q2_K.gguf"),
    (PLAIN, "Q2_K_L", "model-Q2_K_L.gguf"),
    (PLAIN, "IQ4_XS", "model-IQ4_XS.gguf"),
    (["b-Q5_K_M.gguf", "b-Q8_0.gguf"], None, "b-Q8_0.gguf"),
    (["b-Q6_K.gguf", "a-Q5_K_M.gguf"], None, "a-Q5_K_M.gguf"),
    (["x.gguf"], None, "x.gguf"),
    (["model.Q4_K_M.gguf", "model.Q8_0.gguf"], "q8_0", "model.Q8_0.gguf"),
    (["model.Q4_K_M-chat.gguf"], "Q4_K_M", "model.Q4_K_M-chat.gguf"),
    (["modelQ4_0.gguf"], "Q4_0", "modelQ4_0.gguf"),
    (["m-UD-Q4_K_XL.gguf", "m-Q4_K_M.gguf"], "UD-Q4_K_XL", "m-UD-Q4_K_XL.gguf"),
    (["m-UD-Q4_K_M.gguf", "m-Q4_K_M.gguf"], "Q4_K_M", "m-Q4_K_M.gguf"),
    (COMPANIONS, None, "zz-Q5_K_S.gguf"),
    (["minecraft-drafting-Q4_K_M.gguf"], None, "minecraft-drafting-Q4_K_M.gguf"),
    (["UPPER-Q4_K_M.GGUF"], None, "UPPER-Q4_K_M.GGUF"),
])
def test_the_file_that_a_quant_picks(paths: list[str], quant: str | None, expected: str) -> None:
    assert chosen(paths, quant=quant) == [expected]
    assert chosen(paths[::-1], quant=quant) == [expected], "the hub's order must not matter"


@pytest.mark.parametrize("tag", ["Q4_0", "Q1_0", "F16", "Q2_K"])
def test_a_tag_is_no_part_of_another(tag: str) -> None:
    assert not any(has_quant(path, tag) for path in ("m-IQ4_0.gguf", "m-TQ1_0.gguf", "m-BF16.gguf", "m-Q2_K_L.gguf"))
    assert has_quant(f"m-{tag.lower()}.gguf", tag)
    assert not has_quant(f"m-{tag}", tag)


def test_all_shards_in_order() -> None:
    expected = [f"Q8_0/m-Q8_0-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    assert chosen(SHARDED, quant="Q8_0") == expected
    assert chosen(SHARDED) == expected
    assert chosen(SHARDED, file=expected[0]) == expected


def test_a_missing_shard_is_refused_by_name() -> None:
    error = refused(["m-Q8_0-00001-of-00003.gguf", "m-Q8_0-00003-of-00003.gguf"], quant="Q8_0")
    assert error.code == Code.SOURCE_NOT_FOUND
    assert "lacks 1 of the 3 shards" in error.message
    assert "'m-Q8_0-00002-of-00003.gguf'" in error.message


def test_without_its_first_shard_a_model_is_none() -> None:
    assert refused(["m-Q8_0-00002-of-00002.gguf"]).code == Code.SOURCE_NOT_FOUND


def test_a_shard_that_is_not_the_first_is_refused_with_the_first_ones_name() -> None:
    error = refused(SHARDED, file="Q8_0/m-Q8_0-00002-of-00003.gguf")
    assert (error.code, error.param) == (Code.SOURCE_REFUSED, "source.huggingFace.file")
    assert "name 'Q8_0/m-Q8_0-00001-of-00003.gguf'" in error.message


@pytest.mark.parametrize(("name", "reason"), [
    ("m-00000-of-00002.gguf", "can't be"), ("m-00003-of-00002.gguf", "can't be"), ("m-00001-of-00000.gguf", "can't be"),
    ("m-00001-of-00065.gguf", "at most 64"), ("m-00002-of-00002.gguf", "name 'm-00001-of-00002.gguf'")])
def test_shards_that_can_not_be(name: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        all_shards(name)


@pytest.mark.parametrize("name", ["m-1-of-2.gguf", "m-00001-of-00002.bin", "-00001-of-00002.gguf"])
def test_what_is_no_shard(name: str) -> None:
    assert shard_of(name) is None
    assert all_shards(name) == [name]


def test_one_shard_of_one_is_a_file() -> None:
    assert chosen(["m-Q8_0-00001-of-00001.gguf"]) == ["m-Q8_0-00001-of-00001.gguf"]


def test_a_named_file_is_taken_even_if_no_quant_would_pick_it() -> None:
    assert chosen(PLAIN, file="mmproj-model-Q8_0.gguf") == ["mmproj-model-Q8_0.gguf"]


def test_the_error_for_a_quant_tells_which_there_are() -> None:
    error = refused(PLAIN, quant="Q5_K_M")
    assert (error.code, error.param) == (Code.SOURCE_NOT_FOUND, "source.huggingFace.quant")
    assert error.message == (f"{REPO} has no file of the quant 'Q5_K_M'; it has bf16, f16, IQ4_XS, Q2_K, Q2_K_L, Q4_0, "
                             "Q4_K_M, Q8_0")


def test_the_error_for_a_quant_names_files_that_have_none() -> None:
    assert "name one of its files: 'ggml-model.gguf'" in refused(["ggml-model.gguf"], quant="Q8_0").message


def test_the_error_for_a_file_names_the_nearest() -> None:
    error = refused(PLAIN, file="model-Q4_K_S.gguf")
    assert (error.code, error.param) == (Code.SOURCE_NOT_FOUND, "source.huggingFace.file")
    assert "did you mean 'model-Q4_K_M.gguf'" in error.message
    assert "no other .gguf" in refused(["README.md"], file="a.gguf").message


def test_a_repository_without_models() -> None:
    error = refused(["README.md", "model.safetensors", "mmproj-x.gguf"])
    assert (error.code, error.param) == (Code.SOURCE_NOT_FOUND, "source.huggingFace.repo")
    assert "-GGUF" in error.message


def test_a_file_without_a_digest_is_refused() -> None:
    plain = [RepoFile(rfilename="m-Q8_0.gguf", size=3)]
    with pytest.raises(PaddockError) as caught:
        choose(REPO, plain, file=None, quant=None)
    assert caught.value.code == Code.SOURCE_REFUSED
    assert "no sha256" in caught.value.message


@pytest.mark.parametrize("name", [
    "../../etc/x-Q4_K_M.gguf", "/etc/x-Q4_K_M.gguf", "..\\x-Q4_K_M.gguf", "a/%2e%2e/x-Q4_K_M.gguf", "a//x-Q4_K_M.gguf",
    "x\0-Q4_K_M.gguf", "x\x1b[31m-Q4_K_M.gguf", "a/./x-Q4_K_M.gguf", "C:/x-Q4_K_M.gguf", "x\n-Q4_K_M.gguf",
    "a/../b-Q4_K_M.gguf"])
def test_names_that_leave_the_repository_are_refused(name: str) -> None:
    error = refused([name], quant="Q4_K_M")
    assert error.code == Code.SOURCE_REFUSED
    assert error.message.isprintable()


def test_messages_stay_short_and_printable_whatever_the_repository_holds() -> None:
    hostile = [f"\x1b[2J\n{number}{'x' * 3000}.gguf" for number in range(500)]
    for error in (refused(hostile, quant="Q4_0"), refused(hostile, file="a.gguf")):
        assert error.message.isprintable()
        assert len(error.message) < 4000


def test_later_shards_and_companions_are_no_models() -> None:
    assert is_model("a/b-00001-of-00002.gguf")
    assert not is_model("a/b-00002-of-00002.gguf")
    assert not is_model("a/mtp-b.gguf")
    assert is_model("mtp-folder/b.gguf")
