# A pytest plugin: one line of JSON for each test that ended, in the file that S3TEST_REPORT names.
import json
import os

MARK = 'fails_on_aws'
tests = {}
# With xdist, reports are made in workers and arrive in the process that leads: one of them has to keep quiet.
worker = os.environ.get('PYTEST_XDIST_WORKER') is not None


def pytest_runtest_logreport(report):
    if worker:
        return
    test = tests.setdefault(report.nodeid, {'name': report.nodeid, 'outcome': 'passed', 'aws': MARK not in report.keywords, 'seconds': 0, 'why': ''})
    test['seconds'] = round(test['seconds'] + report.duration, 3)
    if report.outcome == 'failed':
        # A clean-up that fails after a test that passed is a failure as well: something was left behind.
        test['outcome'] = 'failed' if report.when == 'call' or test['outcome'] == 'failed' else 'error'
        test['why'] += ('\n' if test['why'] else '') + report.longreprtext
    elif report.outcome == 'skipped' and test['outcome'] == 'passed':
        test['outcome'] = 'skipped'
        test['why'] = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if report.when == 'teardown':
        done = tests.pop(report.nodeid)
        with open(os.environ['S3TEST_REPORT'], 'a') as file:
            file.write(json.dumps(done) + '\n')


def pytest_sessionfinish(session):
    # Whose worker process died never saw its clean-up.
    if not worker:
        with open(os.environ['S3TEST_REPORT'], 'a') as file:
            for test in tests.values():
                if test['outcome'] == 'passed':
                    test['outcome'] = 'error'
                file.write(json.dumps(test) + '\n')
