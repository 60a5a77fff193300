from thalweg.problems.digits import digits, mnist
