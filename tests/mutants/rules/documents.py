"""F31 to F35: the PDF."""

from tests.mutants.rules.rule import Rule, tests_of

PRESS, MAILED = "tests/gateways/test_document.py", "tests/journeys/test_mail_documents.py"

DOCUMENTS: tuple[Rule, ...] = (
    Rule(
        "F31",
        "a stored PDF that is not the one that was checked stays here",
        "effects/document.py",
        "    if hashlib.sha256(pdf).hexdigest() != kept.sha256:\n",
        "    if False:\n",
        tests_of(MAILED, "not_the_one_that_was_checked", engine="sqlite"),
    ),
    Rule(
        "F31",
        "a voucher that is printed again gives the same bytes",
        "gateways/document_press.py",
        ", pdf_identifier=identifier.encode())",
        ", pdf_identifier=os.urandom(16))",
        tests_of(PRESS, "same_bytes_in_any_process"),
    ),
    Rule(
        "F32",
        "the renderer's memory is limited",
        "gateways/document_press.py",
        "    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))\n",
        "",
        tests_of(PRESS, "lives_within_limits"),
    ),
    Rule(
        "F32",
        "a renderer that hangs is given up",
        "gateways/document_child.py",
        "selector.select(max(0.0, deadline - time.monotonic()))",
        "selector.select()",
        tests_of(PRESS, "hangs_is_given_up"),
    ),
    Rule(
        "F32",
        "a page without end is refused",
        "gateways/document_press.py",
        "        if len(document.pages) > MOST_PAGES:\n",
        "        if False:\n",
        tests_of(PRESS, "page_without_end"),
    ),
    Rule(
        "F33",
        "after three failures the plain page is printed",
        "effects/document.py",
        "    return step.attempt > CHOSEN_TRIES or ",
        "    return ",
        tests_of(MAILED, "after_three_failures and renderer_crashed", engine="sqlite"),
    ),
    Rule(
        "F33",
        "a PDF that cannot be made holds no mail back",
        "domain/fulfilment.py",
        "    if step.name == StepName.DOCUMENT:\n        _wake_followers(step)\n",
        "",
        tests_of("tests/domain/test_fulfilment.py", "pdf_that_died", engine="sqlite"),
    ),
    Rule(
        "F34",
        "a PDF that says something else than the books is not kept",
        "effects/document.py",
        "    if wrong:\n",
        "    if False:\n",
        tests_of(MAILED, "something_else_than_the_books", engine="sqlite"),
    ),
    Rule(
        "F34",
        "the value on the paper is compared",
        "gateways/document.py",
        '            ("value", document.value_text),\n',
        "",
        tests_of(PRESS, "difference_on_the_paper"),
    ),
    Rule(
        "F34",
        "the QR on the paper is compared",
        "gateways/document.py",
        "    if set(read_back.qr_payloads) != {document.link}:\n",
        "    if False:\n",
        tests_of(PRESS, "difference_on_the_paper"),
    ),
    Rule(
        "F35",
        "a voucher is printed in the colours in which it was bought",
        "effects/document.py",
        '        "accent": unit.accent,\n',
        '        "accent": unit.design.accent,\n',
        tests_of(MAILED, "printed_as_it_was_bought", engine="sqlite"),
    ),
    Rule(
        "F35",
        "a mail that is tried again carries the PDF of its first try",
        "effects/mail.py",
        "    pdf = document.stored_pdf(voucher)\n",
        "    pdf = here().press.print(document.describe(voucher, order=order, unit=unit)).pdf\n",
        tests_of(MAILED, "changes_no_byte_of_the_pdf", engine="sqlite"),
    ),
)
